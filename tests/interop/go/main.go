// A go-libp2p peer on a leash, commanded exactly as peer.mjs beside it: one JSON object a line on stdin commands it,
// answers and events come as JSON lines on stdout. {"id":1,"cmd":"dial","address":"/ip4/…"} ->
// {"id":1,"ok":true,"result":{…}}; events have no "id". The one argument is a JSON object of options for newNode. With
// "nodes":[{…},{…}] there are several nodes with those options over the common ones; "node":1 in a command means the
// second, and an event of it says so.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

type fields = map[string]any

// request is what any command may say. What a command does not use is ignored.
type request struct {
	ID        json.RawMessage `json:"id"`
	Cmd       string          `json:"cmd"`
	Node      int             `json:"node"`
	Peer      string          `json:"peer"`
	Address   string          `json:"address"`
	Protocol  string          `json:"protocol"`
	Base64    json.RawMessage `json:"base64"`
	Hear      int64           `json:"hear"`
	End       string          `json:"end"`
	TimeoutMs int             `json:"timeoutMs"`
	Bytes     int64           `json:"bytes"`
	Count     int             `json:"count"`
	Topic     string          `json:"topic"`
	Prefix    string          `json:"prefix"`
	Key       string          `json:"key"`
	Text      string          `json:"text"`
	CID       string          `json:"cid"`
}

type command func(ctx context.Context, r *request) (any, error)

var output sync.Mutex

func emit(message any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	output.Lock()
	defer output.Unlock()
	os.Stdout.Write(append(line, '\n'))
}

func main() {
	all, err := readOptions()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	ctx := context.Background()
	nodes := make([]*node, len(all))
	said := make([]fields, len(all))
	for number, options := range all {
		if nodes[number], err = newNode(ctx, number, options); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		said[number] = nodes[number].describe()
	}
	emit(fields{"event": "ready", "peerId": said[0]["peerId"], "addrs": said[0]["addrs"], "nodes": said})

	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var r request
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(2)
		}
		if r.Cmd == "stop" {
			break
		}
		if r.Node >= len(nodes) {
			emit(fields{"id": r.ID, "ok": false, "error": "no such node"})
			continue
		}
		go run(ctx, nodes[r.Node], &r)
	}
	for _, n := range nodes {
		n.host.Close()
	}
}

func run(ctx context.Context, n *node, r *request) {
	do, ok := n.commands[r.Cmd]
	if !ok {
		emit(fields{"id": r.ID, "ok": false, "error": "unknown command " + r.Cmd})
		return
	}
	result, err := do(ctx, r)
	if err != nil {
		emit(fields{"id": r.ID, "ok": false, "error": err.Error()})
		return
	}
	if result == nil {
		result = fields{}
	}
	emit(fields{"id": r.ID, "ok": true, "result": result})
}

// readOptions gives the options of each node.
func readOptions() ([]options, error) {
	raw := []byte("{}")
	if len(os.Args) > 1 {
		raw = []byte(os.Args[1])
	}
	var several struct {
		Nodes []json.RawMessage `json:"nodes"`
	}
	if err := json.Unmarshal(raw, &several); err != nil {
		return nil, err
	}
	if len(several.Nodes) == 0 {
		several.Nodes = []json.RawMessage{[]byte("{}")}
	}
	all := make([]options, len(several.Nodes))
	for number, own := range several.Nodes {
		for _, part := range [][]byte{raw, own} {
			if err := json.Unmarshal(part, &all[number]); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}
