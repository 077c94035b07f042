package file

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/connectors/sourcetest"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

func itself(path string) string { return path }

// written are the files of a company in one format, and their configuration.
type written struct {
	dir    string
	config Config
	paths  []string
}

func write(t testing.TB, format string, c *company.Company) *written {
	w := &written{dir: t.TempDir(), config: Config{Format: format, End: Trailer}}
	put := func(name string, b []byte) string {
		path := filepath.Join(w.dir, name)
		require.NoError(t, os.WriteFile(path, b, 0o600))
		w.paths = append(w.paths, path)
		return path
	}
	switch format {
	case LDIF:
		var b bytes.Buffer
		require.NoError(t, c.WriteLDIF(&b))
		path := put("dump.ldif", append(b.Bytes(), "# end\n"...))
		w.config.Users = Users{Paths: []string{path}, Disabled: "pwdAccountLockedTime", DisplayName: "displayName", Guest: "employeeType=guest"}
		w.config.Groups.Paths = []string{path}
	case CSV:
		users := [][]string{{"number", "login", "name", "mail", "manager", "enabled", "kind", "department"}}
		groups := [][]string{{"id", "displayName", "description"}}
		members := [][]string{{"group", "member", "as"}}
		for _, p := range c.People {
			if p.Home == company.LDAP {
				kind := p.Kind
				if p.Guest {
					kind = "guest"
				}
				users = append(users, []string{p.ID, p.UID, p.Name, p.Mail, p.Manager, strconv.FormatBool(p.Enabled), kind, p.Department})
			}
		}
		for _, g := range c.Groups {
			if g.Home != company.LDAP {
				continue
			}
			groups = append(groups, []string{g.ID, g.Name, g.Description})
			for _, m := range slices.Concat(g.Members, g.Groups) {
				members = append(members, []string{g.ID, m, "member"})
			}
			for _, o := range g.Owners {
				members = append(members, []string{g.ID, o, "Owner"})
			}
		}
		table := func(name string, rows [][]string) []string {
			var b bytes.Buffer
			out := csv.NewWriter(&b)
			out.Comma = ';'
			require.NoError(t, out.WriteAll(rows))
			fmt.Fprintf(&b, "# end %d\n", len(rows)-1)
			return []string{put(name, b.Bytes())}
		}
		w.config.Comma = ";"
		w.config.Users = Users{Paths: table("users.csv", users), ID: "number", UserName: "login", DisplayName: "name", Guest: "kind=guest"}
		w.config.Groups = Groups{Paths: table("groups.csv", groups)}
		w.config.Members = Members{Paths: table("members.csv", members), Relation: "as"}
	case JSON:
		type user struct {
			ID       string `json:"id"`
			Login    string `json:"userName"`
			Name     string `json:"displayName"`
			Mail     string `json:"mail"`
			Manager  string `json:"manager,omitempty"`
			Enabled  bool   `json:"enabled"`
			UserType string `json:"userType,omitempty"`
		}
		type group struct {
			ID      string   `json:"id"`
			Name    string   `json:"displayName"`
			Members []string `json:"members"`
			Owners  []string `json:"owners"`
		}
		var all struct {
			Users  []user  `json:"users"`
			Groups []group `json:"groups"`
		}
		for _, p := range c.People {
			if p.Home == company.LDAP {
				u := user{p.ID, p.UID, p.Name, p.Mail, p.Manager, p.Enabled, ""}
				if p.Guest {
					u.UserType = "guest"
				}
				all.Users = append(all.Users, u)
			}
		}
		for _, g := range c.Groups {
			if g.Home == company.LDAP {
				all.Groups = append(all.Groups, group{g.ID, g.Name, slices.Concat(g.Members, g.Groups), g.Owners})
			}
		}
		b, err := json.MarshalIndent(all, "", " ")
		require.NoError(t, err)
		w.config.End = ""
		path := put("directory.json", b)
		w.config.Users.Paths, w.config.Groups.Paths = []string{path}, []string{path}
	}
	return w
}

func (w *written) source(t testing.TB) *Source {
	s, err := New(w.config, itself)
	require.NoError(t, err)
	return s
}

func TestContract(t *testing.T) {
	c := company.Small()
	for _, format := range []string{LDIF, CSV, JSON} {
		t.Run(format, func(t *testing.T) {
			w := write(t, format, c)
			h := sourcetest.Harness{
				Company: c, Home: company.LDAP,
				Reader: func(t *testing.T) directory.Reader { return w.source(t) },
				Unreachable: func(t *testing.T) directory.Reader {
					c := w.config
					c.Users.Paths = []string{filepath.Join(w.dir, "nothing")}
					s, err := New(c, itself)
					require.NoError(t, err)
					return s
				},
				Cut: func(t *testing.T) func() {
					path := w.paths[0]
					b, err := os.ReadFile(path)
					require.NoError(t, err)
					require.NoError(t, os.WriteFile(path, b[:len(b)/2], 0o600))
					return func() { require.NoError(t, os.WriteFile(path, b, 0o600)) }
				},
			}
			if os.Geteuid() != 0 { // root may read everything
				h.WrongPassword = func(t *testing.T) directory.Reader {
					path := filepath.Join(t.TempDir(), "secret")
					require.NoError(t, os.WriteFile(path, nil, 0))
					c := w.config
					c.Users.Paths = []string{path}
					s, err := New(c, itself)
					require.NoError(t, err)
					return s
				}
			}
			sourcetest.Run(t, h)
		})
	}
}

// TestRule_SRC_1_a_file_that_was_cut_anywhere_is_incomplete cuts each format after
// every byte near the end and after many elsewhere.
func TestRule_SRC_1_a_file_that_was_cut_anywhere_is_incomplete(t *testing.T) {
	for _, format := range []string{LDIF, CSV, JSON} {
		t.Run(format, func(t *testing.T) {
			w := write(t, format, company.Small())
			s := w.source(t)
			for _, path := range w.paths {
				b, err := os.ReadFile(path)
				require.NoError(t, err)
				last := len(b) - 1
				for n := 0; n <= last; n++ {
					if n < len(b)-120 && n%611 != 0 {
						continue
					}
					require.NoError(t, os.WriteFile(path, b[:n], 0o600))
					round, err := sourcetest.Collect(t.Context(), s, directory.Start{})
					require.ErrorIs(t, err, directory.ErrIncomplete, "%d of %d bytes of %s", n, len(b), path)
					require.ErrorContains(t, err, filepath.Base(path))
					require.False(t, round.Complete)
				}
				require.NoError(t, os.WriteFile(path, b, 0o600))
			}
		})
	}
}

func TestAFileShowsThatItIsWhole(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "users.csv")
	config := Config{Format: CSV, Users: Users{Paths: []string{path}}}
	read := func(end, content string) error {
		require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
		c := config
		c.End = end
		s, err := New(c, itself)
		require.NoError(t, err)
		round, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.Equal(t, err == nil, round.Complete)
		return err
	}
	const rows = "id,userName\n1,ada\n2,bob\n"
	for name, content := range map[string]string{
		"the line": rows + "# end\n", "of Windows": strings.ReplaceAll(rows+"# end 2\n", "\n", "\r\n"),
		"with the right number": rows + "# end 2\n", "with a byte order mark": "\ufeff" + rows + "# end 2\n", "nobody": "id,userName\n# end 0\n",
	} {
		require.NoError(t, read(Trailer, content), name)
	}
	for name, content := range map[string]string{
		"no line": rows, "half a line": rows + "# end", "another line": rows + "# finish\n", "not the last": rows + "# end\n3,eve\n", "not on its own": rows + "3,# end\n",
		"too few": rows + "# end 3\n", "too many": rows + "# end 1\n", "nothing": "", "only the line": "# end\n",
	} {
		require.ErrorIs(t, read(Trailer, content), directory.ErrIncomplete, name)
	}
	require.ErrorContains(t, read(Trailer, rows+"# end 3\n"), "tells of 3 records, and there are 2")
	require.NoError(t, read(Rename, rows))

	require.ErrorContains(t, read(Checksum, rows), "sha256sum")
	sum := fmt.Sprintf("%x  users.csv\n", sha256.Sum256([]byte(rows)))
	require.NoError(t, os.WriteFile(path+".sha256", []byte(sum), 0o600))
	require.NoError(t, read(Checksum, rows))
	require.ErrorContains(t, read(Checksum, rows[:len(rows)-6]), "not what its checksum")
	require.NoError(t, os.WriteFile(path+".sha256", []byte("hello\n"), 0o600))
	require.ErrorContains(t, read(Checksum, rows), "holds no SHA-256")
}

// TestRule_SRC_1_a_file_that_changes_while_it_is_read_is_incomplete writes to it
// between two pages.
func TestRule_SRC_1_a_file_that_changes_while_it_is_read_is_incomplete(t *testing.T) {
	path := filepath.Join(t.TempDir(), "users.csv")
	content := []byte("id,userName\n")
	for i := range 3000 {
		content = fmt.Appendf(content, "%d,user%d\n", i, i)
	}
	s, err := New(Config{Format: CSV, End: Rename, Users: Users{Paths: []string{path}}}, itself)
	require.NoError(t, err)
	for name, change := range map[string]func(){
		"one byte": func() {
			require.NoError(t, os.WriteFile(path, bytes.Replace(content, []byte("user2999"), []byte("user2998"), 1), 0o600))
		},
		"more rows": func() { require.NoError(t, os.WriteFile(path, append(content, "x,y\n"...), 0o600)) },
		"fewer":     func() { require.NoError(t, os.Truncate(path, 20_000)) },
		"the same again": func() {
			require.NoError(t, os.Chtimes(path, time.Now(), time.Now().Add(time.Hour)))
		},
	} {
		require.NoError(t, os.WriteFile(path, content, 0o600))
		changed := false
		err := s.Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
			require.False(t, p.Complete, name)
			if !changed {
				change()
				changed = true
			}
			return nil
		})
		require.ErrorIs(t, err, directory.ErrIncomplete, name)
	}
	// A file that is replaced by another is read to its own end.
	require.NoError(t, os.WriteFile(path, content, 0o600))
	pages := 0
	require.NoError(t, s.Read(t.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(directory.Page) error {
		if pages++; pages == 1 {
			require.NoError(t, os.WriteFile(path+".new", []byte("id,userName\n"), 0o600))
			require.NoError(t, os.Rename(path+".new", path))
		}
		return nil
	}))
}

func TestRule_SRC_2_files_that_did_not_change_bring_a_round_without_a_change(t *testing.T) {
	for _, format := range []string{LDIF, CSV, JSON} {
		w := write(t, format, company.Small())
		s := w.source(t)
		first, err := sourcetest.Collect(t.Context(), s, directory.Start{})
		require.NoError(t, err)
		again, err := sourcetest.Collect(t.Context(), s, directory.Start{Cursor: first.Cursor})
		require.NoError(t, err)
		require.Equal(t, directory.Delta, again.Mode)
		require.Empty(t, again.Objects)
		require.Equal(t, first.Cursor, again.Cursor)
		// Other attributes, or another configuration, are read anew.
		_, err = sourcetest.Collect(t.Context(), s, directory.Start{Cursor: first.Cursor, Attributes: []string{"title"}})
		require.ErrorIs(t, err, directory.ErrCursorExpired)
		// Another content is.
		b, err := os.ReadFile(w.paths[0])
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(w.paths[0], bytes.ReplaceAll(b, []byte("staff"), []byte("Staff")), 0o600))
		other := w.config
		other.Users.Mail = "other"
		o, err := New(other, itself)
		require.NoError(t, err)
		_, err = sourcetest.Collect(t.Context(), o, directory.Start{Cursor: first.Cursor})
		require.ErrorIs(t, err, directory.ErrCursorExpired)
		if format != JSON { // which has no such text
			changed, err := sourcetest.Collect(t.Context(), s, directory.Start{Cursor: first.Cursor})
			require.NoError(t, err)
			require.Equal(t, directory.Full, changed.Mode)
			require.NotEqual(t, first.Cursor, changed.Cursor)
		}
	}
}

// TestFaultsHaveFileAndLine shows what is said of files that cannot be read. None of
// them is complete.
func TestFaultsHaveFileAndLine(t *testing.T) {
	for name, c := range map[string]struct{ format, content, want string }{
		"csv: a column that is not there":  {CSV, "id,login\n1,ada\n", `users:1: no column "userName"; there are id, login`},
		"csv: a column twice":              {CSV, "id,userName,id\n", `users:1: column "id" is there twice`},
		"csv: a row of other length":       {CSV, "id,userName\n1,ada\n2\n", "users:3: wrong number of fields"},
		"csv: a quotation mark":            {CSV, "id,userName\n1,\"ada\n2,bob\n", `users:3: extraneous or missing "`},
		"csv: no id":                       {CSV, "id,userName\n1,ada\n,bob\n", "users:3: want one id, have 0"},
		"csv: an id twice":                 {CSV, "id,userName\n1,ada\n2,b\n1,bob\n", `users:4: id "1" is there twice, first at `},
		"csv: an id that is no text":       {CSV, "id,userName\n\xff,ada\n", "users:2: id is not a text"},
		"csv: nothing at all":              {CSV, "", "users:1: the file is empty"},
		"ldif: a change":                   {LDIF, "dn: cn=a\nchangetype: modify\n", "users:2: this is a list of changes"},
		"ldif: a value elsewhere":          {LDIF, "dn: cn=a\njpegPhoto:< file:///etc/shadow\n", "users:2: a value in another file"},
		"ldif: no base64":                  {LDIF, "dn: cn=a\ncn:: !!\n", "users:2: cn: not base64"},
		"ldif: no attribute":               {LDIF, "dn: cn=a\nhello\n", "users:2: want the name of an attribute"},
		"ldif: no dn":                      {LDIF, "\ncn: a\n", `users:2: an entry begins with dn:, this one with "cn"`},
		"ldif: no empty line":              {LDIF, "dn: cn=a\ncn: a\ndn: cn=b\n", "users:3: a second dn"},
		"ldif: cut within a line":          {LDIF, "dn: cn=a\ncn: a", "users:2: the file ends within a line"},
		"ldif: no entryUUID":               {LDIF, "dn: cn=a\nobjectClass: inetOrgPerson\n", "users:1: want one entryUUID, have 0"},
		"ldif: two":                        {LDIF, "dn: cn=a\nobjectClass: inetOrgPerson\nentryUUID: a\nentryUUID: b\n", "users:1: want one entryUUID, have 2"},
		"ldif: a name that is none":        {LDIF, "dn: a,,b\nobjectClass: inetOrgPerson\nentryUUID: a\n", `users:1: dn "a,,b"`},
		"ldif: another version":            {LDIF, "version: 2\n", "users:1: LDIF version"},
		"ldif: a line that goes on":        {LDIF, " a\n", "users:1: a line that goes on"},
		"json: cut":                        {JSON, "{\"users\": [\n{\"id\": \"1\",\n", "users:2: the file ends before its last bracket"},
		"json: a comma too many":           {JSON, "[\n{\"id\": \"1\",}\n]", "users:2: "},
		"json: no list":                    {JSON, "{\"people\": []}", `users:1: there is no "users"`},
		"json: a text":                     {JSON, `"x"`, "users:1: want a list"},
		"json: not an object":              {JSON, "[\n1\n]", "users:2: want an object"},
		"json: an object within":           {JSON, "[\n{\"id\": {\"a\": 1}}\n]", "users:2: id: want a text or a list of texts"},
		"json: a member twice":             {JSON, "[\n{\"id\": \"1\",\n\"id\": \"2\"}\n]", `users:3: "id" is there twice`},
		"json: something behind":           {JSON, "[]\n[]", "users:2: something follows"},
		"json: a list within a list":       {JSON, "[{\"id\": [\"1\", []]}]", "users:1: id: want texts in the list"},
		"json: two lists of the same name": {JSON, "{\"users\": [], \"users\": []}", `users:1: "users" is there twice`},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "users")
			require.NoError(t, os.WriteFile(path, []byte(c.content), 0o600))
			s, err := New(Config{Format: c.format, End: Rename, Users: Users{Paths: []string{path}}}, itself)
			require.NoError(t, err)
			round, err := sourcetest.Collect(t.Context(), s, directory.Start{})
			require.ErrorContains(t, err, c.want)
			require.ErrorIs(t, err, directory.ErrIncomplete)
			require.False(t, round.Complete)
			_, err = s.Probe(t.Context())
			require.ErrorContains(t, err, c.want)
		})
	}
}

func TestValues(t *testing.T) {
	path := filepath.Join(t.TempDir(), "dump.ldif")
	guidBytes := "AQIDBAUGBwgJCgsMDQ4PEA==" // 01 to 10
	require.NoError(t, os.WriteFile(path, []byte(`version: 1
# a comment
 that goes on

dn: CN=Ada King,OU=People,DC=example,DC=com
objectClass: top
objectClass: USER
objectGUID:: `+guidBytes+`
sAMAccountName: ada
displayName:: QWRhIMOE
description: a long li
 ne
description:: //8=
title;lang-en: x
manager: cn=eve, ou=people, dc=example, dc=com

dn: cn=red,dc=example,dc=com
objectClass: group
objectGUID:: AAAAAAAAAAAAAAAAAAAAAQ==
cn: red
member: CN=Ada King,OU=People,DC=example,DC=com
member: nonsense
`), 0o600))
	s, err := New(Config{
		Format: LDIF, End: Rename,
		Users:  Users{Paths: []string{path}, ID: "objectGUID", UserName: "sAMAccountName", DisplayName: "displayName", Classes: []string{"user"}},
		Groups: Groups{Paths: []string{path}, ID: "objectGUID", Classes: []string{"group"}},
	}, itself)
	require.NoError(t, err)
	round, err := sourcetest.Collect(t.Context(), s, directory.Start{Attributes: []string{"description", "manager", "userName"}})
	require.NoError(t, err)
	const ada, red directory.ObjectID = "04030201-0605-0807-090a-0b0c0d0e0f10", "00000000-0000-0000-0000-000000000001"
	require.Equal(t, directory.Object{
		ID: ada, Kind: directory.KindUser, DN: "cn=ada king,ou=people,dc=example,dc=com", Attributes: map[string][]string{
			"userName": {"ada"}, "displayName": {"Ada Ä"}, "description": {"a long line"}, "manager": {"dn:cn=eve,ou=people,dc=example,dc=com"},
		},
	}, round.Objects[ada])
	require.Equal(t, map[directory.Edge]bool{{Group: red, Far: directory.ByDN("cn=ada king,ou=people,dc=example,dc=com")}: true}, round.Edges)
	require.Len(t, round.Problems, 2)
	require.Contains(t, round.Problems[0].Text, "line 5: description: a value is not text")
	require.Contains(t, round.Problems[1].Text, `line 17: member: "nonsense" is not a DN`)
	facts, err := s.Probe(t.Context())
	require.NoError(t, err)
	require.Equal(t, "1 users, 1 groups and 1 memberships and ownerships", facts[0])
}

func TestConfigFaults(t *testing.T) {
	good := func(c Config) Config {
		c.Users.Paths = append(c.Users.Paths, "users")
		return c
	}
	for want, c := range map[string]Config{
		"format: \"xml\"":              good(Config{Format: "xml", End: Rename}),
		"end: say how":                 good(Config{Format: CSV}),
		"end: \"hope\"":                good(Config{Format: JSON, End: "hope"}),
		"users.paths: want":            {Format: JSON},
		"paths: one is empty":          good(Config{Format: JSON, Groups: Groups{Paths: []string{""}}}),
		"members, comma: go with csv":  good(Config{Format: JSON, Members: Members{Paths: []string{"m"}}}),
		"csv has memberships in files": good(Config{Format: CSV, End: Rename, Groups: Groups{Members: "members"}}),
		"classes: go with ldif":        good(Config{Format: JSON, Users: Users{Classes: []string{"user"}}}),
		"comma: want one character":    good(Config{Format: CSV, End: Rename, Comma: ",,"}),
	} {
		require.ErrorContains(t, c.Validate(), want)
		_, err := New(c, itself)
		require.ErrorContains(t, err, want)
	}
	s, err := New(good(Config{Format: JSON}), func(p string) string { return "/etc/ambit/" + p })
	require.NoError(t, err)
	_, err = sourcetest.Collect(context.Background(), s, directory.Start{})
	require.ErrorContains(t, err, "/etc/ambit/users")
	dir, err := New(Config{Format: JSON, Users: Users{Paths: []string{t.TempDir()}}}, itself)
	require.NoError(t, err)
	_, err = sourcetest.Collect(t.Context(), dir, directory.Start{})
	require.ErrorContains(t, err, "is no file")
}

// FuzzParse reads what strangers may have written: it ends, and whatever is read
// can be read again to the same.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"version: 1\n\ndn: cn=a\ncn:: YQ==\nx: a\n b\n# c\n d\n\ndn: b\n", "id,userName\n1,\"a,\"\"b\"\n", `{"users": [{"id": "1", "b": [true, 1.5, null]}], "x": {"y": []}}`,
		"dn: a\r\ncn: b\r\n", "\ufeffid\n1\n", "[[]]", "dn:\ncn:\n", "a;b\n# end 3\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, parse := range []func(yield func(record) error) error{
			func(yield func(record) error) error { return parseLDIF(bytes.NewReader(b), yield) },
			func(yield func(record) error) error { return parseCSV(bytes.NewReader(b), ',', []string{"id"}, yield) },
			func(yield func(record) error) error {
				return parseJSON(bytes.NewReader(b), "users", func(n int64) int { return int(n) }, yield)
			},
		} {
			var first, second []record
			err := parse(func(r record) error { first = append(first, r); return nil })
			again := parse(func(r record) error { second = append(second, r); return nil })
			require.Equal(t, err, again)
			require.Equal(t, first, second)
			for _, r := range first {
				require.Positive(t, r.line+1)
			}
		}
	})
}
