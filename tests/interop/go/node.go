package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"
	kaddht "github.com/libp2p/go-libp2p-kad-dht"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	relay "github.com/libp2p/go-libp2p/p2p/protocol/circuitv2/relay"
	"github.com/libp2p/go-libp2p/p2p/protocol/ping"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
)

const commandSeconds = 15 * time.Second

// options of a node; those of peer.mjs have the same names.
type options struct {
	Seed      string `json:"seed"`     // 32 bytes in hex, for a stable peer id
	Security  string `json:"security"` // noise (default), tls or plaintext: that one alone
	WebSocket *bool  `json:"websocket"`
	DHT       bool   `json:"dht"`
	Relay     bool   `json:"relay"`  // be a relay (circuit v2)
	Gossip    string `json:"gossip"` // "" for none, or the newest version of GossipSub to speak: 1.1, 1.2
	// what an invalid message does to a score (P4 of GossipSub 1.1), 0 or less
	InvalidWeight float64 `json:"invalidWeight"`
}

type node struct {
	number   int
	host     host.Host
	dht      *kaddht.IpfsDHT
	gossip   *gossip
	commands map[string]command
}

func newNode(ctx context.Context, number int, o options) (*node, error) {
	listen := []string{"/ip4/127.0.0.1/tcp/0"}
	if o.WebSocket == nil || *o.WebSocket {
		listen = append(listen, "/ip4/127.0.0.1/tcp/0/ws")
	}
	settings := []libp2p.Option{
		libp2p.ListenAddrStrings(listen...),
		libp2p.Transport(tcp.NewTCPTransport),
		libp2p.Transport(websocket.New),
		libp2p.UserAgent("go-libp2p-interop/1"),
		// the library's bounds (64 streams of a protocol and peer, 8 connections of an address) are lifted
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableIdentifyAddressDiscovery(),
		libp2p.DisableMetrics(),
	}
	switch o.Security {
	case "", "noise":
		settings = append(settings, libp2p.Security(noise.ID, noise.New))
	case "tls":
		settings = append(settings, libp2p.Security(libp2ptls.ID, libp2ptls.New))
	case "plaintext":
		settings = append(settings, libp2p.NoSecurity)
	default:
		return nil, fmt.Errorf("no such security: %s", o.Security)
	}
	if o.Seed != "" {
		seed, err := hex.DecodeString(o.Seed)
		if err != nil || len(seed) != ed25519.SeedSize {
			return nil, errors.New("a seed is 32 bytes in hex")
		}
		key, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
		if err != nil {
			return nil, err
		}
		settings = append(settings, libp2p.Identity(key))
	}
	if o.Relay {
		settings = append(settings, libp2p.ForceReachabilityPublic(), libp2p.EnableRelayService(relay.WithInfiniteLimits()))
	}
	h, err := libp2p.New(settings...)
	if err != nil {
		return nil, err
	}
	n := &node{number: number, host: h}
	n.commands = map[string]command{
		"dial": n.dial, "hangup": n.hangup, "connections": n.connections, "identify": n.identify, "ping": n.ping,
		"reserve": n.reserve, "cut": n.cut,
	}
	n.serveStreams()
	if o.DHT {
		if err := n.startDHT(); err != nil {
			return nil, err
		}
	}
	if o.Gossip != "" {
		if err := n.startGossip(ctx, o.Gossip, o.InvalidWeight); err != nil {
			return nil, err
		}
	}
	return n, n.report()
}

func (n *node) describe() fields {
	return fields{"peerId": n.host.ID().String(), "addrs": n.addresses()}
}

func (n *node) addresses() []string {
	found := []string{}
	for _, address := range n.host.Addrs() {
		found = append(found, fmt.Sprintf("%s/p2p/%s", address, n.host.ID()))
	}
	return found
}

func (n *node) emit(message fields) {
	if n.number > 0 {
		message["node"] = n.number
	}
	emit(message)
}

// report turns what the host tells of its peers into events.
func (n *node) report() error {
	said, err := n.host.EventBus().Subscribe([]any{
		new(event.EvtPeerConnectednessChanged), new(event.EvtPeerIdentificationCompleted),
	})
	if err != nil {
		return err
	}
	go func() {
		for each := range said.Out() {
			switch e := each.(type) {
			case event.EvtPeerConnectednessChanged:
				name := "disconnected"
				if e.Connectedness == network.Connected {
					name = "connected"
				}
				n.emit(fields{"event": name, "peer": e.Peer.String()})
			case event.EvtPeerIdentificationCompleted:
				n.emit(fields{
					"event": "identified", "peer": e.Peer.String(), "agentVersion": e.AgentVersion,
					"protocols": protocol.ConvertToStrings(e.Protocols),
				})
			}
		}
	}()
	return nil
}

// target learns the peer of an address (which it then may dial) or of a plain id.
func (n *node) target(text string) (peer.ID, error) {
	if !strings.HasPrefix(text, "/") {
		return peer.Decode(text)
	}
	info, err := peer.AddrInfoFromString(text)
	if err != nil {
		return "", err
	}
	n.host.Peerstore().AddAddrs(info.ID, info.Addrs, time.Hour)
	return info.ID, nil
}

func (n *node) dial(ctx context.Context, r *request) (any, error) {
	info, err := peer.AddrInfoFromString(r.Address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	ctx = network.WithAllowLimitedConn(ctx, "as told")
	if !strings.Contains(r.Address, "p2p-circuit") {
		// the direct way, and again after a failure at once: no memory of what failed before
		ctx = network.WithForceDirectDial(ctx, "as told")
	}
	if err := n.host.Connect(ctx, *info); err != nil {
		return nil, err
	}
	open := n.host.Network().ConnsToPeer(info.ID)
	if len(open) == 0 {
		return nil, errors.New("the connection is gone already")
	}
	return fields{"peer": info.ID.String(), "address": open[0].RemoteMultiaddr().String()}, nil
}

func (n *node) hangup(_ context.Context, r *request) (any, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	return nil, n.host.Network().ClosePeer(id)
}

// cut ends all connections with a peer and says why in a code, which is newer than the specification of Yamux.
func (n *node) cut(_ context.Context, r *request) (any, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	for _, c := range n.host.Network().ConnsToPeer(id) {
		if err := c.CloseWithError(breakCode); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func (n *node) connections(context.Context, *request) (any, error) {
	found := []fields{}
	for _, c := range n.host.Network().Conns() {
		found = append(found, fields{
			"peer": c.RemotePeer().String(), "address": c.RemoteMultiaddr().String(),
			"direction": strings.ToLower(c.Stat().Direction.String()),
		})
	}
	return fields{"connections": found}, nil
}

func (n *node) identify(_ context.Context, r *request) (any, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	store := n.host.Peerstore()
	protocols, err := store.GetProtocols(id)
	if err != nil {
		return nil, err
	}
	addresses := []string{}
	for _, address := range store.Addrs(id) {
		addresses = append(addresses, address.String())
	}
	agent, _ := store.Get(id, "AgentVersion")
	version, _ := store.Get(id, "ProtocolVersion")
	return fields{
		"protocols": protocol.ConvertToStrings(protocols), "agentVersion": agent, "protocolVersion": version,
		"addrs": addresses,
	}, nil
}

func (n *node) ping(ctx context.Context, r *request) (any, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	result := <-ping.Ping(ctx, n.host, id)
	return fields{"ms": float64(result.RTT.Microseconds()) / 1000}, result.Error
}
