package rig

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jcmturner/gokrb5/v8/client"
	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/etypeID"
	"github.com/jcmturner/gokrb5/v8/keytab"
	"github.com/jcmturner/gokrb5/v8/messages"
	"github.com/jcmturner/gokrb5/v8/types"
	"github.com/stretchr/testify/require"
)

// keyVersion is that of an account whose password was set after it was made.
const keyVersion = 2

// Keytab writes one with the key that an account of the domain has by a password,
// and returns its path.
func (s *Samba) Keytab(t testing.TB, account, password string) string {
	t.Helper()
	k := keytab.New()
	require.NoError(t, k.AddEntry(account, s.Realm, password, time.Now(), keyVersion, etypeID.AES256_CTS_HMAC_SHA1_96))
	b, err := k.Marshal()
	require.NoError(t, err)
	path := filepath.Join(t.TempDir(), account+".keytab")
	require.NoError(t, os.WriteFile(path, b, 0o600))
	return path
}

// CredentialCache writes one with a ticket-granting ticket of the account, as kinit
// does, and returns its path.
func (s *Samba) CredentialCache(t testing.TB, account string) string {
	t.Helper()
	conf, err := config.Load(s.Krb5Conf)
	require.NoError(t, err)
	c := client.NewWithPassword(account, s.Realm, s.Password, conf)
	defer c.Destroy()
	request, err := messages.NewASReqForTGT(s.Realm, conf, c.Credentials.CName())
	require.NoError(t, err)
	reply, err := c.ASExchange(s.Realm, request, 0)
	require.NoError(t, err)
	ticket, err := reply.Ticket.Marshal()
	require.NoError(t, err)

	// MIT's format, version 4, without a header.
	var b bytes.Buffer
	number := func(n int) { require.NoError(t, binary.Write(&b, binary.BigEndian, uint32(n))) }
	data := func(d []byte) {
		number(len(d))
		b.Write(d)
	}
	principal := func(p types.PrincipalName, realm string) {
		number(int(p.NameType))
		number(len(p.NameString))
		data([]byte(realm))
		for _, part := range p.NameString {
			data([]byte(part))
		}
	}
	part := reply.DecryptedEncPart
	b.Write([]byte{5, 4, 0, 0})
	principal(reply.CName, reply.CRealm)
	principal(reply.CName, reply.CRealm)
	principal(reply.Ticket.SName, reply.Ticket.Realm)
	require.NoError(t, binary.Write(&b, binary.BigEndian, uint16(part.Key.KeyType)))
	data(part.Key.KeyValue)
	for _, at := range []time.Time{part.AuthTime, part.AuthTime, part.EndTime, part.EndTime} {
		number(int(at.Unix()))
	}
	b.WriteByte(0) // not encrypted in another's key
	b.Write(part.Flags.Bytes)
	number(0) // addresses
	number(0) // authorization data
	data(ticket)
	data(nil)
	path := filepath.Join(t.TempDir(), "krb5cc")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o600))
	return path
}
