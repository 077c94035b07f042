package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/bench/bed"
	"github.com/ambit-iam/ambit/testdata/company"
	"github.com/ambit-iam/ambit/testdata/rig"
)

const configuration = `
store: {sqlite: ambit.db}
listen: 127.0.0.1:0
authentication: {issuer: "https://127.0.0.1:1", audience: ambit, algorithms: [ES256], user_claim: preferred_username}
model: [model.yaml]
mapping: mapping.yaml
sync: {interval: 24h}
sources:
  - id: corp
`

const ldapSource = `
    ldap:
      url: %q
      ca_file: %q
      bind_dn: %q
      password: %q
      users: {base: "ou=people,dc=example,dc=com"}
      groups: {base: "ou=groups,dc=example,dc=com"}
`

// mapping is the rules, for the attribute that has the people's units.
const mapping = `
environments: {company: {}}
rules:
  - name: people
    match: {source: corp, users: 'user.%[1]s != ""'}
    user: {environment: company, business_unit: '{{ user.%[1]s }}', manager: '{{ user.manager }}'}
  - name: teams
    match: {source: corp, group: 'team-*'}
    team: {environment: company, business_unit: Company, roles: [Member]}
`

// modelFile declares the units of a large company, a table and a role.
func modelFile() string {
	var b strings.Builder
	fmt.Fprint(&b, `
environments:
  company:
    tables: {account: {name: Account}}
    roles: {Member: {privileges: {account: {create: user, read: organization}}}}
    business_units:
      Company:
        units:
`)
	for n := range company.LargeUnits {
		fmt.Fprintf(&b, "          unit-%03d: {}\n", n)
	}
	return b.String()
}

// synced is what one run of the daemon took.
type synced struct {
	full, round time.Duration
	// verify proves that the mirror is what the source has; whatIf tells what another
	// mapping would do. The medians of several.
	verify, whatIf time.Duration
	peak           float64 // resident memory, MB
	live           float64 // the most that a collection found live, MB
}

// directory is a company in a source that Ambit is to read.
type directory struct {
	source string // as the configuration says it
	unit   string // the attribute that has the people's units
	user   string // somebody's login
}

// somebody is a member of the first team.
func somebody(c *company.Company) company.Person {
	first := c.Group("team-00000").Members[0]
	return c.People[slices.IndexFunc(c.People, func(p company.Person) bool { return p.ID == first })]
}

// slapd is a directory on OpenLDAP.
type slapd struct {
	*rig.Slapd
	directory
	secret string // the file with the password
}

func startSlapd(ctx context.Context, b *bed.Bed, people int) (*slapd, error) {
	c := company.Large(people)
	s := &slapd{}
	if err := b.Try(func() { s.Slapd = rig.StartSlapd(b, c.WriteLDIF) }); err != nil {
		return nil, err
	}
	s.secret = filepath.Join(s.Dir, "password")
	if err := os.WriteFile(s.secret, []byte(s.Password), 0o600); err != nil {
		return nil, err
	}
	s.directory = directory{fmt.Sprintf(ldapSource, s.TLSURL, s.CAFile, s.BindDN, "file:"+s.secret), "ou", somebody(c).UID}
	_, err := s.search(ctx) // fills its caches
	return s, err
}

func measureSync(ctx context.Context, o options) (_ []line, err error) {
	b := bed.New(ctx)
	defer b.Clean()
	once, err := startSlapd(ctx, b, o.people)
	if err != nil {
		return nil, err
	}
	twice, err := startSlapd(ctx, b, 2*o.people)
	if err != nil {
		return nil, err
	}
	var yardsticks, fulls, doubles, above []float64
	var fullRatios, doubleRatios, verifies, versions, whatIfs []float64
	var peak, live float64
	for range o.runs {
		took, err := once.search(ctx)
		if err != nil {
			return nil, err
		}
		s, err := sync(ctx, o, once.directory)
		if err != nil {
			return nil, err
		}
		stamps, err := once.read(ctx, "entryUUID", "entryCSN")
		if err != nil {
			return nil, err
		}
		trip, err := once.roundTrip(ctx)
		if err != nil {
			return nil, err
		}
		d, err := sync(ctx, o, twice.directory)
		if err != nil {
			return nil, err
		}
		yardsticks, fulls, doubles = append(yardsticks, float64(took)), append(fulls, float64(s.full)), append(doubles, float64(d.full))
		above = append(above, float64(s.round-trip)/float64(time.Millisecond))
		fullRatios, doubleRatios = append(fullRatios, float64(s.full)/float64(took)), append(doubleRatios, float64(d.full)/float64(s.full))
		verifies, whatIfs = append(verifies, float64(s.verify)/float64(took)), append(whatIfs, float64(s.whatIf)/float64(took))
		versions = append(versions, float64(stamps)/float64(took))
		peak, live = max(peak, s.peak), max(live, s.live)
		fmt.Fprintf(os.Stderr, "  B %s, full sync %s, of twice as much %s, round without change %s, its round trip %s, peak %.0f MB, of twice as much %.0f MB\n",
			took, s.full, d.full, s.round, trip, s.peak, d.peak)
	}
	// Each run is compared with the yardstick beside it: a machine that is busy with
	// something else slows both.
	ofVerify, ofWhatIf := middle(verifies), middle(whatIfs)
	ofFull, ofDouble, ofRound := middle(fullRatios), middle(doubleRatios), middle(above)
	return []line{
		{what: fmt.Sprintf("B: `ldapsearch` of %d entries with %d memberships", o.people+o.people/10, o.people*4), figure: duration(middle(yardsticks).median).String()},
		{
			what: "Full sync, from the daemon's start on an empty SQLite store to the first check that is allowed", figure: duration(middle(fulls).median).String(),
			ratio: ofFull.of("B"), goal: 3, got: ofFull.median,
		},
		{
			what: "The same of twice the directory", figure: duration(middle(doubles).median).String(),
			ratio: ofDouble.of("× the time"), goal: 2.1, got: ofDouble.median,
		},
		{
			what:   "Round without change (refreshOnly), above connecting, binding and the same searches without Ambit; 0 bytes are written, revision and store file are as before",
			figure: fmt.Sprintf("%.1f ms", ofRound.median), ratio: ofRound.of("ms"), goal: 5, got: ofRound.median,
		},
		{what: "`ambit verify`: every object by its version and digest", ratio: ofVerify.of("B"), goal: 0.5, got: ofVerify.median},
		{what: "`ldapsearch` of the ids and versions alone, entryUUID and entryCSN", ratio: middle(versions).of("B")},
		{what: "`ambit what-if` of a mapping in which the teams' role is left out", ratio: ofWhatIf.of("B"), goal: 1, got: ofWhatIf.median},
		{what: "Peak resident memory of `ambit serve` in that sync", figure: fmt.Sprintf("%.0f MB", peak)},
		{what: "Most that a garbage collection found live meanwhile", figure: fmt.Sprintf("%.0f MB", live)},
	}, nil
}

// spread is what several runs gave.
type spread struct{ least, median, most float64 }

func middle(all []float64) spread {
	all = slices.Sorted(slices.Values(all))
	return spread{all[0], all[len(all)/2], all[len(all)-1]}
}

func (s spread) of(unit string) string {
	return fmt.Sprintf("%.2f %s (%.2f to %.2f)", s.median, unit, s.least, s.most)
}

// rounds is how many rounds without change are timed; the median counts.
const rounds = 21

// roundTrip is what a round without change costs without Ambit: a connection, a
// bind, and a search for containers, users and groups that the server answers
// with nothing, since the cookie is of now (RFC 4533).
func (s *slapd) roundTrip(ctx context.Context) (time.Duration, error) {
	pem, err := os.ReadFile(s.CAFile)
	if err != nil {
		return 0, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	var cookie []byte
	var took []float64
	for range rounds {
		began := time.Now()
		conn, err := ldap.DialURL(s.TLSURL, ldap.DialWithTLSConfig(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}))
		if err != nil {
			return 0, err
		}
		if err := conn.Bind(s.BindDN, s.Password); err != nil {
			return 0, errors.Join(err, conn.Close())
		}
		ask := func(base string, scope int) error {
			request := ldap.NewSearchRequest(base, scope, ldap.NeverDerefAliases, 0, 0, false, "(objectClass=*)", []string{"1.1"},
				[]ldap.Control{ldap.NewControlSyncRequest(ldap.SyncRequestModeRefreshOnly, cookie, false)})
			result, err := conn.Search(request)
			if err != nil {
				return err
			}
			if done, ok := ldap.FindControl(result.Controls, ldap.ControlTypeSyncDone).(*ldap.ControlSyncDone); ok && len(done.Cookie) > 0 {
				cookie = done.Cookie
			}
			return ctx.Err()
		}
		if cookie == nil {
			if err := ask(s.Suffix, ldap.ScopeBaseObject); err != nil {
				return 0, errors.Join(err, conn.Close())
			}
			began = time.Now()
		}
		for _, base := range []string{"ou=people,", "ou=groups,", "ou=people,", "ou=groups,"} {
			if err := ask(base+s.Suffix, ldap.ScopeWholeSubtree); err != nil {
				return 0, errors.Join(err, conn.Close())
			}
		}
		took = append(took, float64(time.Since(began)))
		if err := conn.Close(); err != nil {
			return 0, err
		}
	}
	return time.Duration(middle(took).median), nil
}

// search is the yardstick B.
func (s *slapd) search(ctx context.Context) (time.Duration, error) {
	return s.read(ctx, "entryUUID", "objectClass", "uid", "cn", "mail", "manager", "ou", "member", "owner")
}

// read is how long ldapsearch takes for attributes of everybody and every group.
func (s *slapd) read(ctx context.Context, attributes ...string) (time.Duration, error) {
	args := append([]string{
		"-x", "-LLL", "-H", s.TLSURL, "-D", s.BindDN, "-y", s.secret, "-b", s.Suffix, "-E", "pr=1000/noprompt",
		"(|(objectClass=inetOrgPerson)(objectClass=groupOfNames))",
	}, attributes...)
	cmd := exec.CommandContext(ctx, "ldapsearch", args...)
	cmd.Env = append(os.Environ(), "LDAPTLS_CACERT="+s.CAFile, "LDAPCONF=/nonexistent")
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return 0, err
	}
	defer null.Close()
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = null, &said
	began := time.Now()
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("ldapsearch: %w\n%s", err, &said)
	}
	return time.Since(began), nil
}

// sync runs the daemon on an empty store, to the first answer and some rounds more.
func sync(ctx context.Context, o options, of directory) (_ synced, err error) {
	var out synced
	dir, err := os.MkdirTemp("", "ambit-bench-")
	if err != nil {
		return out, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	for name, text := range map[string]string{
		"ambit.yaml": configuration + of.source, "model.yaml": modelFile(), "mapping.yaml": fmt.Sprintf(mapping, of.unit),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return out, err
		}
	}
	daemon := exec.CommandContext(ctx, o.ambit, "--config", filepath.Join(dir, "ambit.yaml"), "serve")
	daemon.Env = append(os.Environ(), "GODEBUG=gctrace=1") // how much is live
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return out, err
	}
	defer log.Close()
	daemon.Stderr = log
	began := time.Now()
	if err := daemon.Start(); err != nil {
		return out, err
	}
	ended := make(chan error, 1)
	go func() { ended <- daemon.Wait() }()
	defer func() {
		_ = daemon.Process.Signal(syscall.SIGTERM) // it may have ended
		err = errors.Join(err, <-ended)
	}()
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(dir, "ambit.sock"))
	}}}
	var answer struct {
		Allowed bool   `json:"allowed"`
		Detail  string `json:"detail"`
	}
	question := map[string]any{"user": of.user, "action": "read", "table": "account", "record": map[string]string{"owner": "user:" + of.user}}
	for !answer.Allowed {
		_ = ask(ctx, client, "/v1/environments/company/check", question, &answer) // there is no such environment, or not even a socket, for a while
		if time.Since(began) > 10*time.Minute {
			said, _ := os.ReadFile(log.Name())
			return out, fmt.Errorf("no check is allowed after ten minutes: %s\n%s", answer.Detail, said)
		}
		time.Sleep(5 * time.Millisecond)
	}
	out.full = time.Since(began)
	// The log is put back into the file, and the checkpoint done, by what follows
	// the commit; the round is measured on a daemon at rest.
	time.Sleep(2 * time.Second)
	if out.peak, err = resident(daemon.Process.Pid); err != nil {
		return out, err
	}
	before, err := state(dir)
	if err != nil {
		return out, err
	}
	var first struct {
		Applied bool   `json:"applied"`
		Changes int    `json:"changes"`
		Text    string `json:"text"`
	}
	var took []float64
	for range rounds {
		began = time.Now()
		if err := ask(ctx, client, "/v1/sync", map[string]any{}, &first); err != nil {
			return out, err
		}
		took = append(took, float64(time.Since(began)))
		after, err := state(dir)
		if err != nil {
			return out, err
		}
		if first.Applied || first.Changes != 0 || before != after {
			return out, fmt.Errorf("the round without change wrote something (store changed: %t): %s", before != after, first.Text)
		}
	}
	out.round = time.Duration(middle(took).median)
	if err := out.ask(ctx, client, of); err != nil {
		return out, err
	}
	out.live, err = mostLive(log.Name())
	return out, err
}

// ask measures the questions about the whole directory.
func (s *synced) ask(ctx context.Context, client *http.Client, of directory) error {
	const times = 3
	var verify, whatIf []float64
	edited := strings.Replace(fmt.Sprintf(mapping, of.unit), ", roles: [Member]", "", 1)
	for range times {
		var proven struct {
			Differences int `json:"differences"`
		}
		began := time.Now()
		if err := ask(ctx, client, "/v1/verify", map[string]any{}, &proven); err != nil {
			return err
		}
		verify = append(verify, float64(time.Since(began)))
		var plan struct {
			Changes int `json:"changes"`
		}
		began = time.Now()
		if err := ask(ctx, client, "/v1/what-if", map[string]any{"mapping": map[string]string{"name": "mapping.yaml", "text": edited}}, &plan); err != nil {
			return err
		}
		whatIf = append(whatIf, float64(time.Since(began)))
		if proven.Differences != 0 || plan.Changes == 0 {
			return fmt.Errorf("%d differences are found, and a mapping without the teams' roles changes %d objects", proven.Differences, plan.Changes)
		}
	}
	s.verify, s.whatIf = time.Duration(middle(verify).median), time.Duration(middle(whatIf).median)
	return nil
}

func ask(ctx context.Context, client *http.Client, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, "POST", "http://ambit"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("Content-Type", "application/json")
	w, err := client.Do(r)
	if err != nil {
		return err
	}
	defer w.Body.Close()
	answer, err := io.ReadAll(w.Body)
	if err != nil {
		return err
	}
	if w.StatusCode >= 300 {
		return fmt.Errorf("%s: %s: %s", path, w.Status, answer)
	}
	return json.Unmarshal(answer, out)
}

// resident is the most memory that a process ever had resident, in MB.
func resident(pid int) (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for text := range strings.Lines(string(b)) {
		if value, ok := strings.CutPrefix(text, "VmHWM:"); ok {
			kb, err := strconv.ParseFloat(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 64)
			return kb / 1000, err
		}
	}
	return 0, errors.New("the kernel does not tell VmHWM")
}

// state is a digest of the store's files.
func state(dir string) (string, error) {
	h := sha256.New()
	for _, name := range []string{"ambit.db", "ambit.db-wal"} {
		f, err := os.Open(filepath.Join(dir, name))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", err
		}
		_, err = io.Copy(h, f)
		if err := errors.Join(err, f.Close()); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil)), nil
}

var collection = regexp.MustCompile(`^gc \d+ .* \d+->\d+->(\d+) MB`)

// mostLive reads what the runtime says of its collections.
func mostLive(path string) (float64, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	most := 0.0
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := collection.FindStringSubmatch(lines.Text()); m != nil {
			mb, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				return 0, err
			}
			most = max(most, mb)
		}
	}
	return most, lines.Err()
}
