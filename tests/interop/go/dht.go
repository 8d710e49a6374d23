package main

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/ipfs/go-cid"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	record "github.com/libp2p/go-libp2p-record"
)

const dhtProtocol = "/nexus/kad/1.1.0"

// counted is the schema of records in these tests: JSON with a `seq`, of which the highest is the best.
type counted struct{}

func (counted) seq(value []byte) (int64, error) {
	var said struct {
		Seq *int64 `json:"seq"`
	}
	if err := json.Unmarshal(value, &said); err != nil {
		return 0, err
	}
	if said.Seq == nil {
		return 0, errors.New("no seq")
	}
	return *said.Seq, nil
}

func (c counted) Validate(_ string, value []byte) error {
	_, err := c.seq(value)
	return err
}

func (c counted) Select(_ string, values [][]byte) (int, error) {
	best, highest := 0, int64(-1)
	for index, value := range values {
		if seq, err := c.seq(value); err == nil && seq > highest {
			best, highest = index, seq
		}
	}
	return best, nil
}

func (n *node) startDHT() error {
	made, err := kaddht.New(n.host,
		kaddht.ProtocolPrefix("/nexus"), // under /ipfs the library wants the validators of /ipfs
		kaddht.V1ProtocolOverride(dhtProtocol),
		kaddht.Mode(kaddht.ModeServer),
		kaddht.Validator(record.NamespacedValidator{"nexus": counted{}}),
		kaddht.DisableAutoRefresh(),
	)
	if err != nil {
		return err
	}
	n.dht = made
	for name, do := range map[string]command{
		"dhtPeers": n.dhtPeers, "dhtPut": n.dhtPut, "dhtGet": n.dhtGet, "dhtProvide": n.dhtProvide,
		"dhtFindProviders": n.dhtFindProviders, "dhtFindPeer": n.dhtFindPeer,
	} {
		n.commands[name] = do
	}
	return nil
}

// dhtPeers tells who is in the routing table.
func (n *node) dhtPeers(context.Context, *request) (any, error) {
	found := []string{}
	for _, id := range n.dht.RoutingTable().ListPeers() {
		found = append(found, id.String())
	}
	return fields{"peers": found}, nil
}

func (n *node) dhtPut(ctx context.Context, r *request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	return nil, n.dht.PutValue(ctx, r.Key, []byte(r.Text))
}

func (n *node) dhtGet(ctx context.Context, r *request) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	value, err := n.dht.GetValue(ctx, r.Key)
	return fields{"text": string(value)}, err
}

func (n *node) dhtProvide(ctx context.Context, r *request) (any, error) {
	id, err := cid.Decode(r.CID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	return nil, n.dht.Provide(ctx, id, true)
}

func (n *node) dhtFindProviders(ctx context.Context, r *request) (any, error) {
	id, err := cid.Decode(r.CID)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	providers := []string{}
	for found := range n.dht.FindProvidersAsync(ctx, id, 20) {
		providers = append(providers, found.ID.String())
	}
	return fields{"providers": providers}, nil
}

func (n *node) dhtFindPeer(ctx context.Context, r *request) (any, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	found, err := n.dht.FindPeer(ctx, id)
	if err != nil {
		return nil, err
	}
	addresses := []string{}
	for _, address := range found.Addrs {
		addresses = append(addresses, address.String())
	}
	return fields{"addrs": addresses}, nil
}
