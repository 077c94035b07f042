package ldaptest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/testdata/company"
)

// Proxy stands before a real server, in the clear on loopback, and does to what it
// says what networks and other servers do: faults, and rewriting.
type Proxy struct {
	// URL is ldap://127.0.0.1:port.
	URL string

	upstream string
	listener net.Listener
	closed   chan struct{}
	once     sync.Once
	group    sync.WaitGroup

	mu      sync.Mutex
	conns   map[net.Conn]bool
	fault   ProxyFault
	rewrite Rewrite
}

// ProxyFault is what becomes of what the server says. The zero ProxyFault is none.
type ProxyFault struct {
	// After so many messages of a connection, the answer to the bind being the first.
	After int
	// Cut closes the connection in the middle of a message.
	Cut bool
	// Stall says nothing any more.
	Stall bool
	// HalfOpen says nothing any more and hears nothing, and ends nothing: as a host that
	// is gone without a word.
	HalfOpen bool
	// Duplicate sends each entry twice.
	Duplicate bool
	// Delay is before each message.
	Delay time.Duration
}

// Rewrite returns what the client is told instead of an answer. request is the one
// that it answers. It is called from several goroutines.
type Rewrite func(request, answer *ber.Packet) []*ber.Packet

// StartProxy stands before the server at ldap://host:port. Close ends it.
func StartProxy(upstream string) (*Proxy, error) {
	p := &Proxy{upstream: upstream[len("ldap://"):], closed: make(chan struct{}), conns: map[net.Conn]bool{}}
	var err error
	if p.listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	p.URL = "ldap://" + p.listener.Addr().String()
	p.group.Go(p.accept)
	return p, nil
}

// Close ends all connections, once.
func (p *Proxy) Close() error {
	var err error
	p.once.Do(func() {
		close(p.closed)
		err = p.listener.Close()
		p.Hangup()
		p.group.Wait()
	})
	return err
}

// Hangup ends the connections that there are.
func (p *Proxy) Hangup() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // it is going away
	}
}

// Arm makes every connection run into the fault, until another is armed.
func (p *Proxy) Arm(f ProxyFault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fault = f
}

// Rewrite makes every answer go through f; nil: through nothing.
func (p *Proxy) Rewrite(f Rewrite) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rewrite = f
}

func (p *Proxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return // closed
		}
		server, err := net.Dial("tcp", p.upstream)
		if err != nil {
			_ = client.Close() // nobody is there
			continue
		}
		p.mu.Lock()
		p.conns[client], p.conns[server] = true, true
		p.mu.Unlock()
		var requests requests
		var both sync.WaitGroup
		both.Go(func() {
			requests.forward(client, server)
			_ = server.Close() // the client has gone
		})
		both.Go(func() {
			p.answers(&requests, server, client)
			_ = client.Close() // the server has gone, or is to look so
		})
		p.group.Go(func() {
			both.Wait()
			p.mu.Lock()
			delete(p.conns, client)
			delete(p.conns, server)
			p.mu.Unlock()
		})
	}
}

// requests are those of a connection, by number.
type requests struct {
	mu   sync.Mutex
	byID map[int64]*ber.Packet
	deaf bool // nothing gets through any more
}

func (r *requests) forward(client, server net.Conn) {
	for {
		packet, err := ber.ReadPacket(client)
		if err != nil || len(packet.Children) < 2 {
			return
		}
		id, _ := packet.Children[0].Value.(int64)
		r.mu.Lock()
		if r.byID == nil {
			r.byID = map[int64]*ber.Packet{}
		}
		r.byID[id] = packet
		deaf := r.deaf
		r.mu.Unlock()
		if deaf {
			continue
		}
		if _, err := server.Write(packet.Bytes()); err != nil {
			return
		}
	}
}

func (r *requests) of(answer *ber.Packet) *ber.Packet {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, _ := answer.Children[0].Value.(int64)
	return r.byID[id]
}

func (p *Proxy) answers(r *requests, server, client net.Conn) {
	for said := 0; ; said++ {
		packet, err := ber.ReadPacket(server)
		if err != nil || len(packet.Children) < 2 {
			return
		}
		p.mu.Lock()
		fault, rewrite := p.fault, p.rewrite
		p.mu.Unlock()
		answers := []*ber.Packet{packet}
		if request := r.of(packet); rewrite != nil && request != nil {
			answers = rewrite(request, packet)
		}
		for _, a := range answers {
			message := a.Bytes()
			struck := said >= fault.After
			switch {
			case struck && fault.Cut:
				_, _ = client.Write(message[:len(message)/2]) // it is closed next
				return
			case struck && (fault.Stall || fault.HalfOpen):
				r.mu.Lock()
				r.deaf = fault.HalfOpen
				r.mu.Unlock()
				<-p.closed
				return
			case struck && fault.Duplicate && a.Children[1].Tag == ldap.ApplicationSearchResultEntry:
				message = append(message, message...)
			}
			if fault.Delay > 0 {
				time.Sleep(fault.Delay)
			}
			if _, err := client.Write(message); err != nil {
				return
			}
		}
	}
}

// shuffled is how many entries Shuffle holds back at most.
const shuffled = 64

// Shuffle gives the entries of each answer in another order, before whatever comes
// after them.
func Shuffle(seed uint64) Rewrite {
	var mu sync.Mutex
	r, held := rand.New(rand.NewPCG(seed, 3)), map[*ber.Packet][]*ber.Packet{}
	return func(request, answer *ber.Packet) []*ber.Packet {
		mu.Lock()
		defer mu.Unlock()
		isEntry := answer.Children[1].Tag == ldap.ApplicationSearchResultEntry
		if isEntry {
			held[request] = append(held[request], answer)
			if len(held[request]) < shuffled {
				return nil
			}
		}
		out := held[request]
		delete(held, request)
		r.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
		if !isEntry {
			out = append(out, answer)
		}
		return out
	}
}

// Done is the end of the same search with another result and without controls.
func Done(answer *ber.Packet, code uint16) *ber.Packet {
	id, _ := answer.Children[0].Value.(int64)
	return message(id, result(ldap.ApplicationSearchResultDone, code))
}

// Asks tells whether a request's bytes hold a text, such as a control's number.
func Asks(request *ber.Packet, text string) bool {
	return bytes.Contains(request.Bytes(), []byte(text))
}

// EditEntry returns the answer with its attributes edited, if it is an entry: by
// name with options, in the order in which edit likes them.
func EditEntry(answer *ber.Packet, edit func(attributes []company.Attribute) []company.Attribute) *ber.Packet {
	if answer.Children[1].Tag != ldap.ApplicationSearchResultEntry {
		return answer
	}
	id, _ := answer.Children[0].Value.(int64)
	op := answer.Children[1]
	e := company.Entry{DN: op.Children[0].Data.String()}
	for _, a := range op.Children[1].Children {
		one := company.Attribute{Name: a.Children[0].Data.String()}
		for _, v := range a.Children[1].Children {
			one.Values = append(one.Values, v.Data.String())
		}
		e.Attributes = append(e.Attributes, one)
	}
	e.Attributes = edit(e.Attributes)
	edited := message(id, entry(e, nil))
	if len(answer.Children) > 2 {
		edited.AppendChild(answer.Children[2]) // its controls
	}
	return edited
}

// LimitValues gives lists of members in parts, as Active Directory does with more
// than MaxValRange.
func LimitValues(most int) Rewrite {
	return func(request, answer *ber.Packet) []*ber.Packet {
		if Asks(request, ldap.ControlTypeDirSync) { // which gives them all
			return []*ber.Packet{answer}
		}
		return []*ber.Packet{EditEntry(answer, func(attributes []company.Attribute) []company.Attribute {
			var out []company.Attribute
			for _, a := range attributes {
				name, span, _ := strings.Cut(strings.ToLower(a.Name), ";range=")
				from, _ := strconv.Atoi(strings.TrimSuffix(span, "-*"))
				if name != "member" || len(a.Values) <= most {
					out = append(out, a)
					continue
				}
				if span == "" {
					out = append(out, company.Attribute{Name: "member"})
				}
				out = append(out, company.Attribute{Name: fmt.Sprintf("member;range=%d-%d", from, from+most-1), Values: a.Values[:most]})
			}
			return out
		})}
	}
}
