package main

import (
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// The library tells who is in a mesh only to a tracer. (pubsub.RawTracer: what is not wanted must be there too.)

func (g *gossip) Graft(id peer.ID, topic string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	if g.mesh[topic] == nil {
		g.mesh[topic] = map[peer.ID]bool{}
	}
	g.mesh[topic][id] = true
}

func (g *gossip) Prune(id peer.ID, topic string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	delete(g.mesh[topic], id)
}

func (g *gossip) Leave(topic string) {
	g.lock.Lock()
	defer g.lock.Unlock()
	delete(g.mesh, topic)
}

func (g *gossip) OnClosedOutboundStream(id peer.ID) {
	g.lock.Lock()
	defer g.lock.Unlock()
	for _, members := range g.mesh {
		delete(members, id)
	}
}

// DropRPC: the queue is long, so that a test in which this happens must hear of it.
func (g *gossip) DropRPC(_ *pubsub.RPC, id peer.ID) {
	g.node.emit(fields{"event": "dropped", "peer": id.String()})
}

// UndeliverableMessage: as DropRPC.
func (g *gossip) UndeliverableMessage(message *pubsub.Message) {
	g.node.emit(fields{"event": "undeliverable", "topic": message.GetTopic()})
}

func (g *gossip) OnNewOutboundStream(peer.ID, protocol.ID)             {}
func (g *gossip) Join(string)                                          {}
func (g *gossip) ValidateMessage(*pubsub.Message)                      {}
func (g *gossip) DeliverMessage(*pubsub.Message)                       {}
func (g *gossip) RejectMessage(*pubsub.Message, string)                {}
func (g *gossip) DuplicateMessage(*pubsub.Message)                     {}
func (g *gossip) ThrottlePeer(peer.ID)                                 {}
func (g *gossip) RecvRPC(*pubsub.RPC)                                  {}
func (g *gossip) SendRPC(*pubsub.RPC, peer.ID)                         {}
func (g *gossip) SendRPCCompleted(*pubsub.RPC, peer.ID, time.Duration) {}
