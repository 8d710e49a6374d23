// A node with boxo's bitswap, which is Kubo's, on a leash: as ../main.go, one JSON object a line.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sync"
	"time"

	"github.com/ipfs/boxo/bitswap"
	"github.com/ipfs/boxo/bitswap/network/bsnet"
	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/blockstore"
	chunk "github.com/ipfs/boxo/chunker"
	"github.com/ipfs/boxo/ipld/merkledag"
	"github.com/ipfs/boxo/ipld/unixfs/importer/balanced"
	"github.com/ipfs/boxo/ipld/unixfs/importer/helpers"
	unixfs "github.com/ipfs/boxo/ipld/unixfs/io"
	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/ipfs/go-datastore"
	dssync "github.com/ipfs/go-datastore/sync"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/multiformats/go-multiaddr"
	"github.com/multiformats/go-multihash"
)

const (
	piece    = 256 << 10
	patience = 60 * time.Second
)

type request struct {
	ID        int    `json:"id"`
	Cmd       string `json:"cmd"`
	Address   string `json:"address"`
	Cid       string `json:"cid"`
	Seed      string `json:"seed"`
	Size      int    `json:"size"`
	Codec     uint64 `json:"codec"`
	Hex       string `json:"hex"`
	TimeoutMs int    `json:"timeoutMs"`
}

type result map[string]any

type node struct {
	host   host.Host
	blocks blockservice.BlockService
	dag    *merkledag.ComboService
}

func newNode(ctx context.Context) (*node, error) {
	h, err := libp2p.New(
		libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.DisableRelay(),
	)
	if err != nil {
		return nil, err
	}
	store := blockstore.NewBlockstore(dssync.MutexWrap(datastore.NewMapDatastore()))
	network := bsnet.NewFromIpfsHost(h)
	exchange := bitswap.New(ctx, network, nil, store)
	network.Start(exchange)
	service := blockservice.New(store, exchange)
	dag := merkledag.NewDAGService(service)
	return &node{h, service, &merkledag.ComboService{Read: merkledag.NewSession(ctx, dag), Write: dag}}, nil
}

// content is that of ../../helia/peer.mjs: piece n is the SHA-256 of "seed:n", again and again.
func content(seed string, size int) []byte {
	made := make([]byte, 0, size+piece)
	for n := 0; len(made) < size; n++ {
		digest := sha256.Sum256(fmt.Appendf(nil, "%s:%d", seed, n))
		made = append(made, bytes.Repeat(digest[:], piece/len(digest))...)
	}
	return made[:size]
}

func (n *node) dial(ctx context.Context, r request) (result, error) {
	address, err := multiaddr.NewMultiaddr(r.Address)
	if err != nil {
		return nil, err
	}
	info, err := peer.AddrInfoFromP2pAddr(address)
	if err != nil {
		return nil, err
	}
	return result{}, n.host.Connect(ctx, *info)
}

func (n *node) addFile(r request) (result, error) {
	params := helpers.DagBuilderParams{
		Maxlinks:   helpers.DefaultLinksPerBlock,
		RawLeaves:  true,
		CidBuilder: cid.V1Builder{Codec: cid.DagProtobuf, MhType: multihash.SHA2_256},
		Dagserv:    n.dag.Write,
	}
	builder, err := params.New(chunk.NewSizeSplitter(bytes.NewReader(content(r.Seed, r.Size)), piece))
	if err != nil {
		return nil, err
	}
	root, err := balanced.Layout(builder)
	if err != nil {
		return nil, err
	}
	return result{"cid": root.Cid().String()}, nil
}

// readFile takes blocks in sessions, as Kubo does.
func (n *node) readFile(ctx context.Context, r request) (result, error) {
	root, err := cid.Decode(r.Cid)
	if err != nil {
		return nil, err
	}
	dag := merkledag.NewReadOnlyDagService(merkledag.NewSession(ctx, n.dag.Write))
	began := time.Now()
	top, err := dag.Get(ctx, root)
	if err != nil {
		return nil, err
	}
	reader, err := unixfs.NewDagReader(ctx, top, dag)
	if err != nil {
		return nil, err
	}
	hash := sha256.New()
	size, err := io.Copy(hash, reader)
	if err != nil {
		return nil, err
	}
	return result{"size": size, "sha256": hex.EncodeToString(hash.Sum(nil)), "seconds": time.Since(began).Seconds()}, nil
}

func (n *node) addBlock(ctx context.Context, r request) (result, error) {
	data, err := hex.DecodeString(r.Hex)
	if err != nil {
		return nil, err
	}
	name, err := cid.V1Builder{Codec: r.Codec, MhType: multihash.SHA2_256}.Sum(data)
	if err != nil {
		return nil, err
	}
	block, err := blocks.NewBlockWithCid(data, name)
	if err != nil {
		return nil, err
	}
	// tells those who wait for it, too
	return result{"cid": name.String()}, n.blocks.AddBlock(ctx, block)
}

func (n *node) getBlock(ctx context.Context, r request) (result, error) {
	name, err := cid.Decode(r.Cid)
	if err != nil {
		return nil, err
	}
	block, err := n.blocks.GetBlock(ctx, name)
	if err != nil {
		return nil, err
	}
	return result{"hex": hex.EncodeToString(block.RawData())}, nil
}

func (n *node) run(r request) (result, error) {
	limit := patience
	if r.TimeoutMs > 0 {
		limit = time.Duration(r.TimeoutMs) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	switch r.Cmd {
	case "dial":
		return n.dial(ctx, r)
	case "addFile":
		return n.addFile(r)
	case "readFile":
		return n.readFile(ctx, r)
	case "addBlock":
		return n.addBlock(ctx, r)
	case "getBlock":
		return n.getBlock(ctx, r)
	}
	return nil, fmt.Errorf("unknown command %s", r.Cmd)
}

func main() {
	n, err := newNode(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var writing sync.Mutex
	emit := func(message result) {
		writing.Lock()
		defer writing.Unlock()
		if err := json.NewEncoder(os.Stdout).Encode(message); err != nil {
			os.Exit(1)
		}
	}
	addresses := []string{}
	for _, address := range n.host.Addrs() {
		addresses = append(addresses, fmt.Sprintf("%s/p2p/%s", address, n.host.ID()))
	}
	emit(result{"event": "ready", "peerId": n.host.ID().String(), "addrs": addresses})
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if r.Cmd == "stop" {
			break
		}
		go func() {
			found, err := n.run(r)
			if err != nil {
				emit(result{"id": r.ID, "ok": false, "error": err.Error()})
				return
			}
			emit(result{"id": r.ID, "ok": true, "result": found})
		}()
	}
	_ = n.host.Close()
}
