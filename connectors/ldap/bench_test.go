package ldap

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/testdata/company"
)

// BenchmarkFullRead reads 55,000 entries with 200,000 memberships over TLS, and
// reports the time as a multiple of B: what ldapsearch takes to read the same
// attributes of the same entries from the same slapd, over TLS too, in pages of
// 1000. Both run in turn, so that a busy machine slows both.
func BenchmarkFullRead(b *testing.B) {
	c := slapd(b, company.Large(50_000))
	c.PageSize = 0
	s := source(b, c)
	var ours, theirs time.Duration
	search := func() time.Duration {
		secret, ok := strings.CutPrefix(string(c.Password), "file:")
		require.True(b, ok)
		args := []string{"-x", "-LLL", "-H", c.URL, "-D", c.BindDN, "-y", secret, "-b", company.Suffix, "-E", "pr=1000/noprompt", "(objectClass=*)"}
		for _, p := range s.parts(nil) {
			args = append(args, p.shape.attributes()...)
		}
		cmd := exec.CommandContext(b.Context(), "ldapsearch", args...)
		cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+c.CAFile, "LDAPCONF="+filepath.Join(b.TempDir(), "none"))
		null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
		require.NoError(b, err)
		defer null.Close()
		var said strings.Builder
		cmd.Stdout, cmd.Stderr = null, &said
		started := time.Now()
		require.NoError(b, cmd.Run(), &said)
		return time.Since(started)
	}
	read := func() time.Duration {
		objects, edges := 0, 0
		started := time.Now()
		err := s.Read(b.Context(), directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
			objects += len(p.Upserts)
			for _, m := range p.Members {
				edges += len(m.Add)
			}
			return nil
		})
		took := time.Since(started)
		require.NoError(b, err)
		require.Equal(b, 55_000, objects)
		require.Equal(b, 200_000, edges)
		return took
	}
	search() // slapd's first read fills its caches
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		theirs += search()
		b.StartTimer()
		ours += read()
	}
	b.ReportMetric(float64(ours)/float64(theirs), "B")
	b.ReportMetric(theirs.Seconds()/float64(b.N), "ldapsearch-s/op")
}
