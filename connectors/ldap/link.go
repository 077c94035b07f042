package ldap

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// link is the connection that go-ldap works on, above TLS. It takes the entries
// of searches, and the intermediate messages between them, out of what the server
// sends, before go-ldap sees them, and leaves everything else, results above all,
// to go-ldap.
//
// The reason is cost, and the order among entries and intermediate messages. go-ldap turns each entry into a tree of packets and that
// into strings: for 55,000 entries 20 million allocations, and three times what
// ldapsearch takes. Here an entry is one string (see entry).
type link struct {
	net.Conn
	in      *bufio.Reader
	message []byte      // the last message
	rest    []byte      // what go-ldap has not read of it yet
	entries chan string // messages with an entry or in between, without their first header
	once    sync.Once
	closed  chan struct{}

	// A server that says nothing for idle while it is awaited is taken as gone.
	// While nobody awaits it, as between pages, it may be silent.
	idle    time.Duration
	mu      sync.Mutex
	awaited bool
}

// maxMessage bounds what one message may hold: a group of some two million
// members (Rule REL-8).
const maxMessage = 128 << 20 // bytes

func newLink(conn net.Conn, idle time.Duration) *link {
	k := &link{Conn: conn, idle: idle, entries: make(chan string, 256), closed: make(chan struct{})}
	k.in = bufio.NewReaderSize(patient{k}, 64<<10)
	return k
}

// await expects the server to speak from now on, or no longer.
func (k *link) await(on bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.awaited = on
	deadline := time.Time{}
	if on {
		deadline = time.Now().Add(k.idle)
	}
	_ = k.SetReadDeadline(deadline) // fails on a closed connection, which the next read tells
}

// pause lets the server be silent until resume is called: who takes what it said
// is busy.
func (k *link) pause() (resume func()) {
	k.mu.Lock()
	awaited := k.awaited
	k.mu.Unlock()
	k.await(false)
	return func() { k.await(awaited) }
}

// patient reads the connection and gives it more time for each read.
type patient struct{ k *link }

func (p patient) Read(b []byte) (int, error) {
	p.k.mu.Lock()
	if p.k.awaited {
		_ = p.k.SetReadDeadline(time.Now().Add(p.k.idle)) // the read tells if it is closed
	}
	p.k.mu.Unlock()
	return p.k.Conn.Read(b)
}

// Read gives go-ldap the messages that are not taken out.
func (k *link) Read(b []byte) (int, error) {
	for len(k.rest) == 0 {
		header, err := k.next()
		if err != nil {
			return 0, err
		}
		if !isTaken(k.message[header:]) {
			k.rest = k.message
			break
		}
		select {
		case k.entries <- string(k.message[header:]):
		case <-k.closed:
			return 0, net.ErrClosed
		}
	}
	n := copy(b, k.rest)
	k.rest = k.rest[n:]
	return n, nil
}

// Close ends a read that waits, too.
func (k *link) Close() error {
	k.once.Do(func() { close(k.closed) })
	return k.Conn.Close()
}

// next reads one message and returns the length of its header.
func (k *link) next() (header int, err error) {
	k.message = k.message[:0]
	first, err := k.in.ReadByte()
	if err != nil {
		return 0, err
	}
	length, err := k.in.ReadByte()
	if err != nil {
		return 0, err
	}
	if first != tagSequence || length == 0x80 { // 0x80: of indefinite length
		return 0, errors.New("the server does not speak LDAP")
	}
	k.message = append(k.message, first, length)
	size := int(length)
	if length >= 0x80 {
		size = 0
		for range length & 0x7f {
			b, err := k.in.ReadByte()
			if err != nil {
				return 0, err
			}
			k.message = append(k.message, b)
			if size = size<<8 | int(b); size > maxMessage {
				return 0, fmt.Errorf("the server sent a message of more than %d MiB", maxMessage>>20)
			}
		}
	}
	header = len(k.message)
	// What the server says of the size is believed as it comes.
	for left := size; left > 0; {
		step := min(left, 1<<20)
		k.message = slices.Grow(k.message, step)
		at := len(k.message)
		n, err := io.ReadFull(k.in, k.message[at:at+step])
		if err != nil {
			return 0, err
		}
		k.message = k.message[:at+n]
		left -= n
	}
	return header, nil
}
