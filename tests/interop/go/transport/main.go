// go-libp2p doing the work of bench/transport: `transport serve|drive tcp|ws`. The commands are described in
// bench/transport/work.py.
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-libp2p/p2p/muxer/yamux"
	"github.com/libp2p/go-libp2p/p2p/security/noise"
	"github.com/libp2p/go-libp2p/p2p/transport/tcp"
	"github.com/libp2p/go-libp2p/p2p/transport/websocket"
)

const (
	echo      = "/bench/echo"
	sink      = "/bench/sink"
	source    = "/bench/source"
	readBytes = 262144
	callBytes = 64
)

func must[T any](value T, err error) T {
	if err != nil {
		fmt.Fprintln(os.Stderr, "transport:", err)
		os.Exit(1)
	}
	return value
}

func emit(value any) {
	fmt.Println(string(must(json.Marshal(value))))
}

func create(role, kind string) host.Host {
	options := []libp2p.Option{
		libp2p.Security(noise.ID, noise.New),
		libp2p.Muxer(yamux.ID, yamux.DefaultTransport),
		libp2p.ResourceManager(&network.NullResourceManager{}),
		libp2p.DisableRelay(),
	}
	suffix := ""
	if kind == "ws" {
		options = append(options, libp2p.Transport(websocket.New))
		suffix = "/ws"
	} else {
		options = append(options, libp2p.Transport(tcp.NewTCPTransport))
	}
	if role == "serve" {
		options = append(options, libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"+suffix))
	} else {
		options = append(options, libp2p.NoListenAddrs)
	}
	return must(libp2p.New(options...))
}

func pour(stream io.Writer, count, size int) error {
	data := make([]byte, size)
	must(rand.Read(data))
	for left := count; left > 0; left -= size {
		if _, err := stream.Write(data[:min(left, size)]); err != nil {
			return err
		}
	}
	return nil
}

func drain(stream io.Reader, count int) error {
	buffer := make([]byte, readBytes)
	for count > 0 {
		n, err := stream.Read(buffer)
		count -= n
		if err != nil && count > 0 {
			return err
		}
	}
	return nil
}

func serve(h host.Host) {
	h.SetStreamHandler(echo, func(s network.Stream) {
		defer s.Close()
		buffer := make([]byte, readBytes)
		for {
			n, err := s.Read(buffer)
			if n > 0 {
				if _, err := s.Write(buffer[:n]); err != nil {
					return
				}
			}
			if err != nil {
				return
			}
		}
	})
	h.SetStreamHandler(sink, func(s network.Stream) {
		defer s.Close()
		head := make([]byte, 8)
		if _, err := io.ReadFull(s, head); err != nil {
			return
		}
		if drain(s, int(binary.BigEndian.Uint64(head))) == nil {
			_, _ = s.Write([]byte("."))
		}
	})
	h.SetStreamHandler(source, func(s network.Stream) {
		defer s.Close()
		head := make([]byte, 12)
		if _, err := io.ReadFull(s, head); err != nil {
			return
		}
		_ = pour(s, int(binary.BigEndian.Uint64(head)), int(binary.BigEndian.Uint32(head[8:])))
	})
	emit(map[string]string{"event": "ready", "address": fmt.Sprintf("%s/p2p/%s", h.Addrs()[0], h.ID())})
	_, _ = io.Copy(io.Discard, os.Stdin)
}

type request struct {
	Cmd     string
	Address string
	Count   int
	Size    int
	AtOnce  int
	Total   int
	Write   int
}

type driver struct {
	host host.Host
	kind string
	to   peer.ID
}

func connect(h host.Host, address string) peer.ID {
	info := must(peer.AddrInfoFromString(address))
	must(0, h.Connect(context.Background(), *info))
	return info.ID
}

func (d *driver) open(name string) network.Stream {
	return must(d.host.NewStream(context.Background(), d.to, protocol.ID(name)))
}

func (d *driver) trip(s network.Stream, data, answer []byte) {
	must(s.Write(data))
	must(io.ReadFull(s, answer))
}

func percentile(times []float64, share float64) float64 {
	sort.Float64s(times)
	return times[min(len(times)-1, int(share*float64(len(times))))]
}

func (d *driver) trips(r request) any {
	s := d.open(echo)
	defer s.Close()
	data, answer := make([]byte, r.Size), make([]byte, r.Size)
	times := []float64{}
	for number := range r.Count + 100 {
		began := time.Now()
		d.trip(s, data, answer)
		if number >= 100 {
			times = append(times, float64(time.Since(began).Nanoseconds())/1e3)
		}
	}
	return map[string]float64{"p50": percentile(times, 0.5), "p99": percentile(times, 0.99)}
}

func (d *driver) calls(r request) any {
	several := func(share int) {
		data, answer := make([]byte, callBytes), make([]byte, callBytes)
		for range share {
			s := d.open(echo)
			d.trip(s, data, answer)
			s.Close()
		}
	}
	several(20)
	began := time.Now()
	var group sync.WaitGroup
	for range r.AtOnce {
		group.Go(func() { several(r.Count / r.AtOnce) })
	}
	group.Wait()
	return map[string]float64{"rate": float64(r.Count/r.AtOnce*r.AtOnce) / time.Since(began).Seconds()}
}

func rate(bytes int, began time.Time) any {
	return map[string]float64{"rate": float64(bytes) / 1e6 / time.Since(began).Seconds()}
}

func (d *driver) up(r request) any {
	s := d.open(sink)
	defer s.Close()
	must(s.Write(binary.BigEndian.AppendUint64(nil, uint64(r.Total))))
	began := time.Now()
	must(0, pour(s, r.Total, r.Write))
	must(io.ReadFull(s, make([]byte, 1)))
	return rate(r.Total, began)
}

func (d *driver) down(r request) any {
	s := d.open(source)
	defer s.Close()
	head := binary.BigEndian.AppendUint64(nil, uint64(r.Total))
	began := time.Now()
	must(s.Write(binary.BigEndian.AppendUint32(head, uint32(r.Write))))
	must(0, drain(s, r.Total))
	return rate(r.Total, began)
}

func (d *driver) dial(r request) any {
	times := []float64{}
	for number := range r.Count + 3 {
		must(0, d.host.Network().ClosePeer(d.to))
		began := time.Now()
		connect(d.host, r.Address)
		if number >= 3 {
			times = append(times, float64(time.Since(began).Nanoseconds())/1e6)
		}
	}
	return map[string]float64{"p50": percentile(times, 0.5)}
}

func (d *driver) do(r request) any {
	switch r.Cmd {
	case "connect":
		d.to = connect(d.host, r.Address)
	case "crowd":
		for range r.Count {
			connect(create("drive", d.kind), r.Address)
		}
	case "trips":
		return d.trips(r)
	case "calls":
		return d.calls(r)
	case "up":
		return d.up(r)
	case "down":
		return d.down(r)
	case "dial":
		return d.dial(r)
	}
	return map[string]float64{}
}

func main() {
	role, kind := os.Args[1], os.Args[2]
	h := create(role, kind)
	if role == "serve" {
		serve(h)
		return
	}
	d := &driver{host: h, kind: kind}
	emit(map[string]string{"event": "ready"})
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var r request
		must(0, json.Unmarshal(lines.Bytes(), &r))
		emit(d.do(r))
	}
}
