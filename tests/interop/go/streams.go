package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"hash"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// What every peer of these tests serves; tests/harness/contents.py is the same for ours, peer/streams.mjs for js.
const (
	echoProtocol   = "/interop/echo/1.0.0"   // says what it hears, ends when the other ends
	sinkProtocol   = "/interop/sink/1.0.0"   // hears all, then says {"bytes","sha256"}
	holdProtocol   = "/interop/hold/1.0.0"   // as sink, but reads nothing until the command `release`
	sourceProtocol = "/interop/source/1.0.0" // hears a number, says so many bytes
	breakProtocol  = "/interop/break/1.0.0"  // hears a number, says so many bytes and resets
)

// breakCode goes with a reset, where the frame has a place for it: newer than the specification of Yamux.
const breakCode = 0x1234

// content repeats a block of a prime length, so that no piece of it is where another should be.
var block = func() []byte {
	made := make([]byte, 65_521)
	for i := range made {
		made[i] = byte(i*167 + (i>>8)*13)
	}
	return made
}()

func writeContent(w io.Writer, count int64, sum hash.Hash) error {
	for count > 0 {
		piece := block[:min(count, int64(len(block)))]
		sum.Write(piece)
		if _, err := w.Write(piece); err != nil {
			return err
		}
		count -= int64(len(piece))
	}
	return nil
}

type digest struct {
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func digestOf(count int64, sum hash.Hash) digest {
	return digest{count, hex.EncodeToString(sum.Sum(nil))}
}

func readDigest(r io.Reader) (digest, error) {
	sum := sha256.New()
	count, err := io.CopyBuffer(sum, struct{ io.Reader }{r}, make([]byte, 256<<10))
	return digestOf(count, sum), err
}

func (n *node) serveStreams() {
	gate := &gate{opened: make(chan struct{})}
	serve := func(name string, handler func(network.Stream) error) {
		n.host.SetStreamHandler(protocol.ID(name), func(s network.Stream) {
			if err := handler(s); err != nil {
				n.emit(fields{
					"event": "streamBroke", "protocol": name, "peer": s.Conn().RemotePeer().String(),
					"reset": errors.Is(err, network.ErrReset), "error": err.Error(),
				})
				s.Reset()
				return
			}
			s.Close()
		})
	}
	sink := func(s network.Stream) error {
		heard, err := readDigest(s)
		if err != nil {
			return err
		}
		return json.NewEncoder(s).Encode(heard)
	}
	serve(echoProtocol, echo)
	serve(sinkProtocol, sink)
	serve(holdProtocol, func(s network.Stream) error {
		opened := gate.wait()
		n.emit(fields{"event": "holding", "peer": s.Conn().RemotePeer().String()})
		<-opened
		return sink(s)
	})
	serve(sourceProtocol, func(s network.Stream) error {
		count, err := readNumber(s)
		if err != nil {
			return err
		}
		return writeContent(s, count, sha256.New())
	})
	serve(breakProtocol, func(s network.Stream) error {
		count, err := readNumber(s)
		if err != nil {
			return err
		}
		if err := writeContent(s, count, sha256.New()); err != nil {
			return err
		}
		return s.ResetWithError(breakCode)
	})
	for name, do := range map[string]command{
		"stream": n.stream, "upload": n.upload, "fetch": n.fetch, "many": n.many, "handle": n.handle,
		"release": func(context.Context, *request) (any, error) {
			gate.open()
			return nil, nil
		},
	} {
		n.commands[name] = do
	}
}

// gate lets those through who wait when it is opened.
type gate struct {
	lock   sync.Mutex
	opened chan struct{}
}

func (g *gate) wait() chan struct{} {
	g.lock.Lock()
	defer g.lock.Unlock()
	return g.opened
}

func (g *gate) open() {
	g.lock.Lock()
	defer g.lock.Unlock()
	close(g.opened)
	g.opened = make(chan struct{})
}

func echo(s network.Stream) error {
	_, err := io.CopyBuffer(struct{ io.Writer }{s}, struct{ io.Reader }{s}, make([]byte, 64<<10))
	return err
}

func readNumber(r io.Reader) (int64, error) {
	text, err := io.ReadAll(io.LimitReader(r, 32))
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(string(text), 10, 64)
}

func (n *node) open(ctx context.Context, r *request) (network.Stream, error) {
	id, err := n.target(r.Peer)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, commandSeconds)
	defer cancel()
	return n.host.NewStream(network.WithAllowLimitedConn(ctx, "as told"), id, protocol.ID(r.Protocol))
}

// handle serves one more protocol, so that there is something to push.
func (n *node) handle(_ context.Context, r *request) (any, error) {
	n.host.SetStreamHandler(protocol.ID(r.Protocol), func(s network.Stream) {
		if echo(s) != nil {
			s.Reset()
			return
		}
		s.Close()
	})
	return nil, nil
}

// upload sends content and tells what the other side answers when it has heard all.
func (n *node) upload(ctx context.Context, r *request) (any, error) {
	s, err := n.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	sum := sha256.New()
	if err := writeContent(s, r.Bytes, sum); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(s, 4096))
	sent := digestOf(r.Bytes, sum)
	return fields{"bytes": sent.Bytes, "sha256": sent.SHA256, "answer": string(answer)}, err
}

// fetch asks a source for content.
func (n *node) fetch(ctx context.Context, r *request) (any, error) {
	s, err := n.open(ctx, r)
	if err != nil {
		return nil, err
	}
	defer s.Reset()
	if _, err := s.Write([]byte(strconv.FormatInt(r.Bytes, 10))); err != nil {
		return nil, err
	}
	if err := s.CloseWrite(); err != nil {
		return nil, err
	}
	return readDigest(s)
}

// many has `count` echo streams open at once: each is opened and has heard its echo before the first is ended.
func (n *node) many(ctx context.Context, r *request) (any, error) {
	failures := make(chan error, r.Count)
	var echoed, ended sync.WaitGroup
	echoed.Add(r.Count)
	for number := range r.Count {
		ended.Go(func() {
			word := []byte(strconv.Itoa(number))
			s, err := n.open(ctx, r)
			if err == nil {
				defer s.Reset()
				_, err = s.Write(word)
			}
			heard := make([]byte, len(word))
			if err == nil {
				_, err = io.ReadFull(s, heard)
			}
			echoed.Done()
			echoed.Wait()
			if err == nil {
				err = s.CloseWrite()
			}
			if err == nil {
				_, err = s.Read(make([]byte, 1))
				if err == io.EOF {
					err = nil
				}
			}
			if err == nil && !bytes.Equal(word, heard) {
				err = errors.New("another echo than was sent")
			}
			if err != nil {
				failures <- err
			}
		})
	}
	ended.Wait()
	if failed := len(failures); failed > 0 {
		return nil, errors.Join(errors.New(strconv.Itoa(failed)+" streams failed, one of them"), <-failures)
	}
	return fields{"count": r.Count}, nil
}

// stream sends any bytes on a new stream and tells what came back: what a bad peer does. `end`: close, reset or open,
// once `hear` bytes have come.
func (n *node) stream(ctx context.Context, r *request) (any, error) {
	var pieces []string
	if len(r.Base64) > 0 {
		if err := json.Unmarshal(r.Base64, &pieces); err != nil {
			return nil, err
		}
	}
	s, err := n.open(ctx, r)
	if err != nil {
		return nil, err
	}
	var sendError any
	for _, piece := range pieces {
		raw, err := base64.StdEncoding.DecodeString(piece)
		if err != nil {
			return nil, err
		}
		if _, err := s.Write(raw); err != nil {
			sendError = err.Error()
			break
		}
	}
	patience := 10 * time.Second
	if r.TimeoutMs > 0 {
		patience = time.Duration(r.TimeoutMs) * time.Millisecond
	}
	s.SetReadDeadline(time.Now().Add(patience))
	var heard bytes.Buffer
	if _, err := io.CopyN(&heard, s, r.Hear); err != nil {
		return nil, err
	}
	switch r.End {
	case "", "close":
		s.CloseWrite()
	case "reset":
		s.Reset()
	}
	_, err = heard.ReadFrom(s)
	found := fields{
		"text": heard.String(), "sendError": sendError, "reset": errors.Is(err, network.ErrReset), "open": false, "error": nil,
	}
	if err != nil {
		found["error"] = err.Error()
		// a deadline that has passed; a reset is never one
		if timeout, ok := err.(interface{ Timeout() bool }); ok && timeout.Timeout() && !errors.Is(err, network.ErrReset) {
			found["open"] = true
		}
	}
	s.Reset()
	return found, nil
}
