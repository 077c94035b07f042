package ldap

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

func TestRule_LDAP_9_every_byte_can_be_escaped(t *testing.T) {
	for b := range 256 {
		escaped, upper := fmt.Sprintf(`cn=a\%02xz,dc=x`, b), fmt.Sprintf(`CN = a\%02Xz , DC=x`, b)
		one, err := NormalDN(escaped)
		require.NoError(t, err, escaped)
		other, err := NormalDN(upper)
		require.NoError(t, err, upper)
		require.Equal(t, one, other)
		again, err := NormalDN(one)
		require.NoError(t, err, "%q", one)
		require.Equal(t, one, again)
		if c := byte(b); c < utf8.RuneSelf && strings.IndexByte(`,+"\<>;=# `, c) >= 0 {
			plain, err := NormalDN(`cn=a\` + string(c) + `z,dc=x`)
			require.NoError(t, err, "%q", c)
			require.Equal(t, one, plain, "%q", c)
		}
	}
	for _, bad := range []string{`cn=a\`, `cn=a\4`, `cn=a\4x`, `cn=a\zz`, `cn=#`, `cn=#0`, `cn=#zz`, `cn=#0405`} {
		_, err := NormalDN(bad)
		require.Error(t, err, "%q", bad)
	}
}

// answering is a server that answers binds with success, and a search with what
// answer writes for it.
func answering(t *testing.T, answer func(w io.Writer, id int64, request *ber.Packet) error) Config {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			conns.Go(func() {
				defer conn.Close()
				for {
					packet, err := ber.ReadPacket(conn)
					if err != nil {
						return // the client has gone
					}
					id, _ := packet.Children[0].Value.(int64)
					if packet.Children[1].Tag == ldap.ApplicationBindRequest {
						_, err = conn.Write([]byte{0x30, 0x0c, 0x02, 0x01, byte(id), 0x61, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00})
					} else {
						err = answer(conn, id, packet)
					}
					if err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		conns.Wait()
	})
	c := bases
	c.URL, c.InsecurePlaintextLoopback, c.Changes = "ldap://"+listener.Addr().String(), true, everything
	c.BindDN, c.Password = "cn=ambit", password(t, "secret")
	return c
}

// tlv is an element with a length of four bytes.
func tlv(tag byte, content []byte) []byte {
	n := len(content)
	return append([]byte{tag, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, content...)
}

func TestRule_REL_8_a_group_with_a_million_members(t *testing.T) {
	const members = 1_000_000
	var values bytes.Buffer
	for i := range members {
		v := fmt.Sprintf("uid=m%07d,ou=people,dc=example,dc=com", i)
		values.Write([]byte{tagOctets, byte(len(v))})
		values.WriteString(v)
	}
	attribute := func(name string, values []byte) []byte {
		return tlv(tagSequence, append(tlv(tagOctets, []byte(name)), tlv(tagSet, values)...))
	}
	var attributes []byte
	attributes = append(attributes, attribute("entryUUID", tlv(tagOctets, []byte("00000000-0000-4000-8000-000000000001")))...)
	attributes = append(attributes, attribute("cn", tlv(tagOctets, []byte("everybody")))...)
	attributes = append(attributes, attribute("member", values.Bytes())...)
	group := tlv(tagEntry, append(tlv(tagOctets, []byte("cn=everybody,ou=groups,dc=example,dc=com")), tlv(tagSequence, attributes)...))
	values.Reset()
	c := answering(t, func(w io.Writer, id int64, request *ber.Packet) error {
		if ldaptest.Asks(request, "groupOfNames") {
			if _, err := w.Write(tlv(tagSequence, append([]byte{tagInteger, 1, byte(id)}, group...))); err != nil {
				return err
			}
		}
		done := ber.NewSequence("")
		done.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagInteger, id, ""))
		result := ber.Encode(ber.ClassApplication, ber.TypeConstructed, ldap.ApplicationSearchResultDone, nil, "")
		result.AppendChild(ber.NewInteger(ber.ClassUniversal, ber.TypePrimitive, ber.TagEnumerated, 0, ""))
		result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
		result.AppendChild(ber.NewString(ber.ClassUniversal, ber.TypePrimitive, ber.TagOctetString, "", ""))
		done.AppendChild(result)
		controls := ber.Encode(ber.ClassContext, ber.TypeConstructed, 0, nil, "")
		controls.AppendChild(ldap.NewControlPaging(0).Encode())
		done.AppendChild(controls)
		_, err := w.Write(done.Bytes())
		return err
	})
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	told := 0
	require.NoError(t, source(t, c).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
		for _, m := range p.Members {
			told += len(m.Add)
		}
		runtime.ReadMemStats(&now)
		return nil
	}))
	require.Equal(t, members, told)
	// The server's copy and ours, the references, and what waits for the collector.
	require.Less(t, now.Sys-before.Sys, uint64(12*len(group)), "bytes of memory for a message of %d", len(group))
}

// relay leads to whatever address it is told to.
func relay(t *testing.T) (address string, to func(address string)) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var upstream atomic.Value
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			server, err := net.Dial("tcp", upstream.Load().(string))
			if err != nil {
				_ = client.Close() // nobody is there
				continue
			}
			for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
				conns.Go(func() {
					_, _ = io.Copy(pair[0], pair[1]) // until one has gone
					_ = pair[0].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		conns.Wait()
	})
	return listener.Addr().String(), func(a string) { upstream.Store(a) }
}

func TestAServerWhoseCertificateChanges(t *testing.T) {
	first, c := fake(t)
	second, other := fake(t)
	address, lead := relay(t)
	of := func(s *ldaptest.Server) string { return strings.TrimPrefix(s.URL, "ldaps://") }
	c.URL = "ldaps://" + address
	lead(of(first))
	f := follow(t, c)
	was := text(f.Round)

	lead(of(second)) // of another authority
	round, err := sourcetest.Follow(t.Context(), f.source, directory.Start{}, f.Round)
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.ErrorContains(t, err, "ca_file")
	require.False(t, round.Complete)
	require.Equal(t, was, text(round))

	// Who trusts both may go from one to the other.
	var both []byte
	for _, path := range []string{c.CAFile, other.CAFile} {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		both = append(both, b...)
	}
	c.CAFile = filepath.Join(t.TempDir(), "both.pem")
	require.NoError(t, os.WriteFile(c.CAFile, both, 0o600))
	for _, s := range []*ldaptest.Server{first, second} {
		lead(of(s))
		round, err := sourcetest.Follow(t.Context(), source(t, c), directory.Start{}, f.Round)
		require.NoError(t, err)
		require.Equal(t, was, text(round))
	}
}

func TestRule_LDAP_25_a_clock_that_is_two_hours_off(t *testing.T) {
	for name, start := range map[string]func(testing.TB, func(io.Writer) error) *rig.Slapd{"content synchronisation": rig.StartSlapd, "timestamps": rig.StartPlainSlapd} {
		for _, off := range []time.Duration{2 * time.Hour, -2 * time.Hour} {
			t.Run(fmt.Sprint(name, " ", off), func(t *testing.T) {
				s := start(t, company.Small().WriteLDIF)
				w := write(t, s)
				f := &following{t: t, source: source(t, reading(t, s))}
				set := func(by time.Duration) { f.source.now = func() time.Time { return time.Now().Add(by) } }
				set(off)
				f.next()
				for i, by := range []time.Duration{off, 0, off, -off, 0} { // it is off, and is set, and is off again
					w.person(fmt.Sprint("n", i))
					w.set(employeeDN, "mail", fmt.Sprintf("n%d@contoso.example", i))
					if i > 0 {
						w.remove(fmt.Sprintf("uid=n%d,ou=people,dc=example,dc=com", i-1))
					}
					set(by)
					f.next()
					f.asRead()
				}
			})
		}
	}
}

func TestRule_LDAP_2_an_empty_password_is_refused_before_it_is_sent(t *testing.T) {
	binds := atomic.Int64{}
	c := answering(t, func(io.Writer, int64, *ber.Packet) error { binds.Add(1); return io.EOF }) // it takes any bind
	for what, text := range map[string]string{"nothing": "", "a line without anything": "\n"} {
		c.Password = password(t, text)
		_, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
		require.ErrorIs(t, err, directory.ErrAuth, what)
		require.ErrorContains(t, err, "empty", what)
	}
	require.Zero(t, binds.Load(), "nothing was asked in its name")
}
