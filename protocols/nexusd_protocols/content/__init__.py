"""Content by its address: CIDs, blocks and what is in them. (specs/content.md)

- `cid.Cid` names bytes by their SHA-256; `block.read_block` takes only bytes that their name fits.
- `dag_cbor` is the codec of our own records, `dag_pb` and `unixfs` that of files and directories, `json_blocks` that of
  what the published network stores.
- `retention` says how long which class is kept.
"""
