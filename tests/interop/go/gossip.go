package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"google.golang.org/protobuf/encoding/protowire"
)

const (
	scoreInterval = 500 * time.Millisecond
	// a burst of a thousand messages is not what these tests want to lose
	queueLength = 16_384
)

// gossip is GossipSub on a node, and what its tracer told.
type gossip struct {
	node          *node
	pubsub        *pubsub.PubSub
	invalidWeight float64
	// a tracer is called by the loop that Join and Subscribe wait for: two locks
	joining sync.Mutex
	topics  map[string]*pubsub.Topic
	subs    map[string]*pubsub.Subscription
	lock    sync.Mutex
	mesh    map[string]map[peer.ID]bool
	scores  map[string]fields
}

func (n *node) startGossip(ctx context.Context, newest string, invalidWeight float64) error {
	protocols, ok := map[string][]protocol.ID{
		"1.1": {pubsub.GossipSubID_v11, pubsub.GossipSubID_v10},
		"1.2": {pubsub.GossipSubID_v12, pubsub.GossipSubID_v11, pubsub.GossipSubID_v10},
	}[newest]
	if !ok {
		return fmt.Errorf("no such version of GossipSub: %s", newest)
	}
	g := &gossip{
		node: n, invalidWeight: invalidWeight, topics: map[string]*pubsub.Topic{}, subs: map[string]*pubsub.Subscription{},
		mesh: map[string]map[peer.ID]bool{}, scores: map[string]fields{},
	}
	made, err := pubsub.NewGossipSub(ctx, n.host,
		pubsub.WithGossipSubProtocols(protocols, pubsub.GossipSubDefaultFeatures),
		pubsub.WithMessageSignaturePolicy(pubsub.StrictSign),
		pubsub.WithMessageIdFn(messageID),
		pubsub.WithPeerOutboundQueueSize(queueLength),
		pubsub.WithValidateQueueSize(queueLength),
		pubsub.WithPeerScore(scoreParams(), &pubsub.PeerScoreThresholds{
			GossipThreshold: -10, PublishThreshold: -50, GraylistThreshold: -80, AcceptPXThreshold: 10,
			OpportunisticGraftThreshold: 20,
		}),
		pubsub.WithPeerScoreInspect(pubsub.ExtendedPeerScoreInspectFn(g.inspect), scoreInterval),
		pubsub.WithRawTracer(g),
	)
	if err != nil {
		return err
	}
	g.pubsub, n.gossip = made, g
	for name, do := range map[string]command{
		"join": g.subscribe, "leave": g.unsubscribe, "subscribers": g.subscribers, "publishRaw": g.publishRaw,
		"burst": g.burst, "scores": g.tellScores,
	} {
		n.commands[name] = do
	}
	return nil
}

// scoreParams: the defaults that js-libp2p has for what concerns all topics. All are on one address here, so that
// counts for nothing.
func scoreParams() *pubsub.PeerScoreParams {
	return &pubsub.PeerScoreParams{
		Topics:                    map[string]*pubsub.TopicScoreParams{},
		AppSpecificScore:          func(peer.ID) float64 { return 0 },
		AppSpecificWeight:         10,
		BehaviourPenaltyWeight:    -10,
		BehaviourPenaltyThreshold: 0,
		BehaviourPenaltyDecay:     0.2,
		TopicScoreCap:             10,
		DecayInterval:             time.Second,
		DecayToZero:               0.1,
		RetainScore:               time.Hour,
	}
}

// topicScore rewards first deliveries, and punishes what is invalid as much as it is told to; the mesh is too young in a
// test for the rest. js-libp2p forwards messages to their author too, which go-libp2p takes for invalid: where both are
// honest, the weight is 0.
func topicScore(invalidWeight float64) *pubsub.TopicScoreParams {
	return &pubsub.TopicScoreParams{
		SkipAtomicValidation:           true,
		TopicWeight:                    0.5,
		FirstMessageDeliveriesWeight:   1,
		FirstMessageDeliveriesDecay:    0.5,
		FirstMessageDeliveriesCap:      2000,
		InvalidMessageDeliveriesWeight: invalidWeight,
		InvalidMessageDeliveriesDecay:  0.3,
		TimeInMeshQuantum:              time.Second,
	}
}

// messageID is the rule of the published network: under /nexus/ the UTF-8 of the payload's `id` where that has 1 to 64
// bytes, else the SHA-256 of the message without its key; elsewhere the libraries' own rule.
func messageID(message *pb.Message) string {
	if !strings.HasPrefix(message.GetTopic(), "/nexus/") {
		return pubsub.DefaultMsgIdFn(message)
	}
	var payload struct {
		ID any `json:"id"`
	}
	if json.Unmarshal(message.GetData(), &payload) == nil {
		if id, ok := payload.ID.(string); ok && len(id) > 0 && len(id) <= 64 {
			return id
		}
	}
	var raw []byte
	for number, field := range [][]byte{
		message.GetFrom(), message.GetData(), message.GetSeqno(), []byte(message.GetTopic()), message.GetSignature(),
	} {
		raw = protowire.AppendBytes(protowire.AppendTag(raw, protowire.Number(number+1), protowire.BytesType), field)
	}
	sum := sha256.Sum256(raw)
	return string(sum[:])
}

func (g *gossip) topic(name string) (*pubsub.Topic, error) {
	g.joining.Lock()
	defer g.joining.Unlock()
	if joined, ok := g.topics[name]; ok {
		return joined, nil
	}
	joined, err := g.pubsub.Join(name)
	if err != nil {
		return nil, err
	}
	g.topics[name] = joined
	return joined, joined.SetScoreParams(topicScore(g.invalidWeight))
}

func (g *gossip) subscribe(ctx context.Context, r *request) (any, error) {
	joined, err := g.topic(r.Topic)
	if err != nil {
		return nil, err
	}
	g.joining.Lock()
	defer g.joining.Unlock()
	if g.subs[r.Topic] != nil {
		return nil, nil
	}
	sub, err := joined.Subscribe(pubsub.WithBufferSize(queueLength))
	if err != nil {
		return nil, err
	}
	g.subs[r.Topic] = sub
	go g.listen(ctx, sub)
	return fields{"topic": r.Topic}, nil
}

// listen tells of what others said, as events with the fields of peer/rooms.mjs.
func (g *gossip) listen(ctx context.Context, sub *pubsub.Subscription) {
	for {
		message, err := sub.Next(ctx)
		if err != nil {
			return
		}
		if message.ReceivedFrom == g.node.host.ID() {
			continue
		}
		g.node.emit(fields{
			"event": "pubsub", "topic": message.GetTopic(), "from": message.GetFrom().String(),
			"via": message.ReceivedFrom.String(), "text": string(message.GetData()),
			"wireId": base64.RawStdEncoding.EncodeToString([]byte(message.ID)),
		})
	}
}

func (g *gossip) unsubscribe(_ context.Context, r *request) (any, error) {
	g.joining.Lock()
	defer g.joining.Unlock()
	if sub := g.subs[r.Topic]; sub != nil {
		sub.Cancel()
		delete(g.subs, r.Topic)
	}
	return fields{"topic": r.Topic}, nil
}

func (g *gossip) subscribers(_ context.Context, r *request) (any, error) {
	joined, err := g.topic(r.Topic)
	if err != nil {
		return nil, err
	}
	known, mesh := []string{}, []string{}
	for _, id := range joined.ListPeers() {
		known = append(known, id.String())
	}
	g.lock.Lock()
	defer g.lock.Unlock()
	for id := range g.mesh[r.Topic] {
		mesh = append(mesh, id.String())
	}
	slices.Sort(mesh)
	return fields{"subscribers": known, "mesh": mesh}, nil
}

func (g *gossip) publishRaw(ctx context.Context, r *request) (any, error) {
	joined, err := g.topic(r.Topic)
	if err != nil {
		return nil, err
	}
	var text string
	if err := json.Unmarshal(r.Base64, &text); err != nil {
		return nil, err
	}
	data, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, err
	}
	return nil, joined.Publish(ctx, data)
}

// burst publishes {"id":"<prefix>-<n>","pad":…} for n below `count`, of at least `bytes` bytes each.
func (g *gossip) burst(ctx context.Context, r *request) (any, error) {
	joined, err := g.topic(r.Topic)
	if err != nil {
		return nil, err
	}
	for number := range r.Count {
		payload := fields{"id": fmt.Sprintf("%s-%d", r.Prefix, number), "pad": strings.Repeat("x", int(r.Bytes))}
		data, err := json.Marshal(payload)
		if err != nil {
			return nil, err
		}
		if err := joined.Publish(ctx, data); err != nil {
			return nil, err
		}
	}
	return fields{"count": r.Count}, nil
}

func (g *gossip) tellScores(context.Context, *request) (any, error) {
	g.lock.Lock()
	defer g.lock.Unlock()
	return fields{"scores": g.scores}, nil
}

func (g *gossip) inspect(all map[peer.ID]*pubsub.PeerScoreSnapshot) {
	found := map[string]fields{}
	for id, said := range all {
		found[id.String()] = fields{
			"score": said.Score, "behaviourPenalty": said.BehaviourPenalty, "topics": said.Topics,
			"ipColocation": said.IPColocationFactor,
		}
	}
	g.lock.Lock()
	defer g.lock.Unlock()
	g.scores = found
}
