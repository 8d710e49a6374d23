package main

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/client"
)

// reserve takes a place on a relay, and tells where this node can be reached through it.
func (n *node) reserve(ctx context.Context, r *request) (any, error) {
	info, err := peer.AddrInfoFromString(r.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	if _, err := client.Reserve(ctx, n.host, *info); err != nil {
		return nil, err
	}
	return fields{"address": fmt.Sprintf("%s/p2p-circuit/p2p/%s", r.Address, n.host.ID())}, nil
}
