"""One service a noun. None imports another: they meet in `nexusd.composition`, which hands each what it needs.

`ports` names what they are handed, `views` turns stored rows into what the doors show.
"""
