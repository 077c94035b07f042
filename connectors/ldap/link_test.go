package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ambit-iam/ambit/connectors/ldap/ldaptest"
	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

// raw is a server that answers a bind with success and everything else with the
// same bytes; it then stays silent.
func raw(t *testing.T, answer []byte) Config {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // the test is over
			}
			for conn != nil {
				packet, err := ber.ReadPacket(conn)
				if err != nil {
					_ = conn.Close() // the client has gone
					break
				}
				if packet.Children[1].Tag == ldap.ApplicationBindRequest {
					_, _ = conn.Write([]byte("\x30\x0c\x02\x01\x01\x61\x07\x0a\x01\x00\x04\x00\x04\x00")) // the client tells
				} else {
					_, _ = conn.Write(answer)
				}
			}
		}
	}()
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		<-ended
	})
	c := bases
	c.URL, c.InsecurePlaintextLoopback, c.IdleSeconds = "ldap://"+listener.Addr().String(), true, 1
	c.BindDN, c.Password = "cn=ambit", password(t, "secret")
	return c
}

func TestBytesThatAreNotLDAP(t *testing.T) {
	for name, c := range map[string]struct{ answer, want string }{
		"another protocol":                           {"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak LDAP"},
		"a message of indefinite length":             {"\x30\x80\x02\x01\x02", "does not speak LDAP"},
		"a message that claims two gigabytes":        {"\x30\x84\x7f\xff\xff\xff\x02\x01\x02", "more than 128 MiB"},
		"a message that claims 2^64 bytes":           {"\x30\x89\x01\xff\xff\xff\xff\xff\xff\xff\xff\x02\x01\x02", "more than 128 MiB"},
		"a message that ends early, then silence":    {"\x30\x20\x02\x01\x02\x64\x1b", "timeout"},
		"an entry whose attributes are longer":       {"\x30\x0b\x02\x01\x02\x64\x06\x04\x01a\x30\x30\x30", "not LDAP"},
		"an entry without attributes":                {"\x30\x08\x02\x01\x02\x64\x03\x04\x01a", "not LDAP"},
		"an entry whose name is a number":            {"\x30\x0a\x02\x01\x02\x64\x05\x02\x01a\x30\x00", "not LDAP"},
		"an entry whose value has indefinite length": {"\x30\x16\x02\x01\x02\x64\x11\x04\x01a\x30\x0c\x30\x0a\x04\x02cn\x31\x04\x04\x80\x00\x00", "not LDAP"},
		"nothing": {"", "timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			config := raw(t, []byte(c.answer))
			server := goleak.IgnoreCurrent()
			round, err := sourcetest.Collect(t.Context(), source(t, config), directory.Start{})
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.ErrorContains(t, err, c.want)
			require.False(t, round.Complete)
			goleak.VerifyNone(t, server)
		})
	}
}

func TestAServerThatIsSilentFromTheStart(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	c := bases
	c.BindDN, c.Password, c.IdleSeconds = "cn=ambit", password(t, "secret"), 1
	plain, encrypted, upgraded := c, c, c
	plain.URL, plain.InsecurePlaintextLoopback = "ldap://"+listener.Addr().String(), true
	encrypted.URL = "ldaps://" + listener.Addr().String()
	upgraded.URL, upgraded.StartTLS = "ldap://"+listener.Addr().String(), true
	for name, c := range map[string]Config{"in the clear": plain, "over TLS": encrypted, "with StartTLS": upgraded} {
		t.Run(name+" is given up", func(t *testing.T) {
			begun := false
			err := source(t, c).Read(t.Context(), directory.Start{}, func(directory.Mode) error { begun = true; return nil }, nil)
			require.ErrorIs(t, err, directory.ErrUnreachable)
			require.False(t, begun, "a round begins when the source can be read")
		})
		t.Run(name+" does not hold up who cancels", func(t *testing.T) {
			c.IdleSeconds = 3600
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := sourcetest.Collect(ctx, source(t, c), directory.Start{})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		})
	}
}

func TestAServerMayBeSilentWhileACallerIsBusy(t *testing.T) {
	_, c := fake(t)
	c.IdleSeconds = 1
	busy := true
	err := source(t, c).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(directory.Page) error {
		if busy {
			time.Sleep(1200 * time.Millisecond) // longer than the server may be silent when it is asked
			busy = false
		}
		return nil
	})
	require.NoError(t, err)
}

func TestAPageOfLargeGroupsComesInPieces(t *testing.T) {
	server, c := fake(t)
	c.PageSize = 1000
	members := make([]string, 30_000)
	for i := range members {
		members[i] = fmt.Sprintf("uid=m%d,ou=people,dc=example,dc=com", i)
	}
	for i := range 4 {
		server.Add(company.Entry{DN: fmt.Sprintf("cn=large-%d,ou=groups,dc=example,dc=com", i), Attributes: []company.Attribute{
			{Name: "objectClass", Values: []string{"groupOfNames"}},
			{Name: "cn", Values: []string{"large"}},
			{Name: "entryUUID", Values: []string{fmt.Sprintf("large-%d", i)}},
			{Name: "member", Values: members},
		}})
	}
	most, all := 0, 0
	err := source(t, c).Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
		edges := 0
		for _, m := range p.Members {
			require.True(t, m.Whole, "an entry's list is whole however the page is cut")
			edges += len(m.Add)
		}
		most, all = max(most, edges), all+edges
		return nil
	})
	require.NoError(t, err)
	require.Greater(t, all, 120_000)
	require.Less(t, most, pageValues+30_000+5_000)
}

// TestRule_AD_13 is what a server does that gives a long list in parts, as Active
// Directory does: the attribute itself looks empty.
func TestRule_AD_13_a_list_in_parts_is_not_taken_for_the_whole(t *testing.T) {
	server, c := fake(t)
	server.Add(company.Entry{DN: "cn=parts,ou=groups,dc=example,dc=com", Attributes: []company.Attribute{
		{Name: "objectClass", Values: []string{"groupOfNames"}},
		{Name: "cn", Values: []string{"parts"}},
		{Name: "entryUUID", Values: []string{"parts"}},
		{Name: "member", Values: nil},
		{Name: "member;range=0-1499", Values: []string{company.Small().Person(company.Employee).DN()}},
	}})
	round, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrIncomplete)
	require.ErrorContains(t, err, "in parts")
	require.False(t, round.Complete)
}

func TestStartTLSRefused(t *testing.T) {
	c := raw(t, []byte("\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x35\x04\x00\x04\x00")) // unwilling to perform
	c.StartTLS, c.InsecurePlaintextLoopback = true, false
	_, err := sourcetest.Collect(t.Context(), source(t, c), directory.Start{})
	require.ErrorIs(t, err, directory.ErrUnreachable)
	require.ErrorContains(t, err, "StartTLS")
}

// reference decodes an entry with the library's tree of packets.
func reference(message string) (entry, error) {
	packet, err := ber.DecodePacketErr(append(header(len(message)), message...))
	if err != nil {
		return entry{}, err
	}
	bad := errors.New("not an entry")
	if len(packet.Children) < 2 || packet.Children[1].Tag != ldap.ApplicationSearchResultEntry || len(packet.Children[1].Children) < 2 {
		return entry{}, bad
	}
	op := packet.Children[1]
	e := entry{dn: op.Children[0].Data.String()}
	for _, a := range op.Children[1].Children {
		if len(a.Children) < 2 {
			return entry{}, bad
		}
		one := attribute{name: a.Children[0].Data.String()}
		for _, v := range a.Children[1].Children {
			one.values = append(one.values, v.Data.String())
		}
		e.attributes = append(e.attributes, one)
	}
	return e, nil
}

func header(n int) []byte {
	return []byte{tagSequence, 0x84, byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}
}

func FuzzEntry(f *testing.F) {
	f.Add("\x02\x01\x02\x64\x05\x04\x01a\x30\x00")
	f.Add("\x02\x01\x02\x64\x1a\x04\x04dc=x\x30\x12\x30\x10\x04\x02cn\x31\x0a\x04\x01a\x04\x05b\x00\xff c")
	f.Add("\x02\x01\x02\x64\x84\x00\x00\x00\x09\x04\x81\x01a\x30\x82\x00\x00")
	f.Add("\x02\x01\x02\x65\x07\x0a\x01\x00\x04\x00\x04\x00")
	e := entry{attributes: []attribute{{name: "of the one before", values: []string{"x", "y"}}, {}, {}}}
	f.Fuzz(func(t *testing.T, message string) {
		if !isTaken([]byte(message)) {
			return
		}
		if err := e.read(message); err != nil {
			return // what is refused ends the read
		}
		want, err := reference(message)
		if err != nil {
			return // it looks into what may stand behind an entry, and is skipped here
		}
		require.Equal(t, want.dn, e.dn)
		require.Len(t, e.attributes, len(want.attributes))
		for i, a := range want.attributes {
			require.Equal(t, a.name, e.attributes[i].name)
			require.ElementsMatch(t, a.values, e.attributes[i].values)
		}
	})
}

func TestRule_SRC_1_a_cut_anywhere_among_the_groups_is_incomplete(t *testing.T) {
	server, c := fake(t)
	c.Users.Filter = "(uid=" + company.Employee + ")" // so that the fault strikes in the second search
	c.PageSize = 10
	s := source(t, c)
	whole, err := sourcetest.Collect(t.Context(), s, directory.Start{})
	require.NoError(t, err)
	groups := len(whole.Objects) - 1
	require.Greater(t, groups, 30)
	for after := 1; after < groups; after++ {
		server.Arm(ldaptest.Fault{After: after, Cut: true})
		round, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.ErrorIs(t, err, directory.ErrIncomplete, "cut after %d groups", after)
		require.False(t, round.Complete)
		require.Nil(t, round.Cursor)
		require.Len(t, round.Objects, 1+after/10*10, "whole pages are told; they take nothing away")
	}
}
