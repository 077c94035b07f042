package dirsync

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/go-ldap/ldap/v3"
	"github.com/stretchr/testify/require"

	ldapsource "github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/secret"
	servers "github.com/ambit-iam/ambit/testdata/rig"
)

// In the mirror, too, a dynamic group whose search cannot be believed stays as it was,
// by change, in full, and when it is verified.
func TestRule_LDAP_12_a_dynamic_group_is_mirrored_as_it_was_read_last(t *testing.T) {
	const dn = "cn=all,ou=groups,dc=example,dc=com"
	const all = "ldap:///ou=people,dc=example,dc=com??sub?(sn=Person)"
	server := servers.StartSlapd(t, func(w io.Writer) error {
		_, err := fmt.Fprintf(w, `dn: dc=example,dc=com
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=com
objectClass: organizationalUnit
ou: people

dn: ou=groups,dc=example,dc=com
objectClass: organizationalUnit
ou: groups

dn: uid=ann,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: ann
cn: Ann
sn: Person

dn: uid=bob,ou=people,dc=example,dc=com
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Person

dn: %s
objectClass: groupOfURLs
cn: all
memberURL: %s
`, dn, all)
		return err
	})
	conn, err := ldap.DialURL(server.URL)
	require.NoError(t, err)
	defer conn.Close()
	require.NoError(t, conn.Bind(server.RootDN, server.Password))
	set := func(dn, attribute, value string) {
		request := ldap.NewModifyRequest(dn, nil)
		request.Replace(attribute, []string{value})
		require.NoError(t, conn.Modify(request))
	}
	password := filepath.Join(t.TempDir(), "password")
	require.NoError(t, os.WriteFile(password, []byte(server.Password), 0o600))
	for _, changes := range []string{"content_sync", "timestamps", "none"} {
		t.Run(changes, func(t *testing.T) {
			reader, err := ldapsource.New(ldapsource.Config{
				Server: ldapsource.Server{URL: server.TLSURL, CAFile: server.CAFile, BindDN: server.BindDN, Password: secret.Ref("file:" + password)},
				Users:  ldapsource.Users{Base: "ou=people,dc=example,dc=com"}, Changes: changes,
				Groups: ldapsource.Groups{Base: "ou=groups,dc=example,dc=com", Classes: []string{"groupOfURLs"}},
			})
			require.NoError(t, err)
			r := newRig(t, modelFile, "")
			r.sync.Replace(Config{Sources: []Source{{ID: "corp", Reader: reader}}})
			members := func() int {
				r.mustSync()
				f := r.sync.mirror.facts("corp")
				n := f.target(f.lookup(directory.ByDN(dn)))
				require.NotZero(t, n, "the group is there")
				return len(f.members(n, directory.Member))
			}
			require.Equal(t, 2, members())
			set(dn, "memberURL", "ldap:///people")
			require.Equal(t, 2, members())
			require.True(t, r.sync.mirror.Expire("corp"))
			require.Equal(t, 2, members(), "in full")
			v := r.verify(VerifyOptions{})
			require.Equal(t, ByReading, v.Method, "its members are in no version")
			require.Empty(t, texts(v))
			set(dn, "memberURL", all)
			set("uid=bob,ou=people,dc=example,dc=com", "sn", "Other")
			require.Equal(t, 1, members())
			require.Empty(t, texts(r.verify(VerifyOptions{Stored: true})))
			set("uid=bob,ou=people,dc=example,dc=com", "sn", "Person")
			require.Equal(t, 2, members())
		})
	}
}
