// Package configs is the configuration file of `ambit`: the one typed file that
// composes each room's own configuration, and the examples that ship with it.
//
// It reads and checks files. It opens nothing and connects to nothing, but for
// Sources, which makes the connectors. Every fault names its file, line and
// column; what concerns security has no default that means "off" (Rule SEC-3).
package configs

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"time"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/api"
	"github.com/ambit-iam/ambit/connectors/entra"
	"github.com/ambit-iam/ambit/connectors/file"
	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/document"
	"github.com/ambit-iam/ambit/jit"
	"github.com/ambit-iam/ambit/scim"
	"github.com/ambit-iam/ambit/secret"
	"github.com/ambit-iam/ambit/store"
)

// Config is ambit.yaml.
type Config struct {
	Store Store `yaml:"store,required"`
	// Listen is the address of the HTTP API, such as ":8443".
	Listen string `yaml:"listen,required"`
	// TLS is required unless Listen is a loopback address.
	TLS *TLS `yaml:"tls"`
	// Socket is the path of the socket by which commands on this host reach the
	// daemon. Whoever may open it may do everything but take part in elevation.
	// Empty: ambit.sock beside an SQLite store, none beside PostgreSQL.
	Socket         string             `yaml:"socket"`
	Authentication api.Authentication `yaml:"authentication,required"`
	// BootstrapFile is where the one-time credential of the first administrator is
	// written, readable by the owner only. Empty: bootstrap-credential beside an
	// SQLite store, or else beside the configuration file.
	BootstrapFile string `yaml:"bootstrap_file"`
	// Model lists the model files, Mapping is the mapping file, Policies lists the
	// files of elevation policies.
	Model    []string `yaml:"model"`
	Mapping  string   `yaml:"mapping,required"`
	Policies []string `yaml:"policies"`
	Sources  []Source `yaml:"sources"`
	Sync     Sync     `yaml:"sync"`
	Log      Log      `yaml:"log"`

	// Path is the file's own path; relative paths in it are taken from its folder.
	Path string `yaml:"-"`
}

// Store says where the authorization store is: exactly one of the two.
type Store struct {
	SQLite   string      `yaml:"sqlite"`   // a file's path
	Postgres *PostgreSQL `yaml:"postgres"` // for many machines
}

// PostgreSQL names a database.
type PostgreSQL struct {
	// DSN is a reference to the connection string, which holds a password.
	DSN secret.Ref `yaml:"dsn,required"`
	// StaleAfter is how long questions are answered while the database cannot be
	// asked for anything newer; 0 means 5 minutes.
	StaleAfter jit.Duration `yaml:"stale_after"`
}

// StaleLimit is StaleAfter with its default.
func (p PostgreSQL) StaleLimit() time.Duration {
	return time.Duration(cmp.Or(p.StaleAfter, defaultStoreStale))
}

// TLS is the API's certificate and key, in PEM.
type TLS struct {
	Certificate string `yaml:"certificate,required"`
	Key         string `yaml:"key,required"`
}

// Source is one directory: an id, and exactly one kind.
type Source struct {
	ID   directory.SourceID `yaml:"id,required"`
	LDAP *ldap.Config       `yaml:"ldap"`
	// ActiveDirectory is one domain.
	ActiveDirectory *ldap.ADConfig `yaml:"active_directory"`
	Entra           *entra.Config  `yaml:"entra"`
	SCIM            *scim.Config   `yaml:"scim"`
	File            *file.Config   `yaml:"file"`
	// StaleAfter is when an alarm is raised that the source has not been read
	// completely; 0 means the longer of an hour and three intervals.
	StaleAfter jit.Duration `yaml:"stale_after"`
	// DenyWhenStale names environments whose questions are errors while the source is
	// stale. Without it what was read last goes on.
	DenyWhenStale *DenyWhenStale `yaml:"deny_when_stale"`
}

// DenyWhenStale says when which environments are not answered for.
type DenyWhenStale struct {
	After        jit.Duration           `yaml:"after,required"`
	Environments []access.EnvironmentID `yaml:"environments,required"`
}

// Sync says how often directories are read, and which runs of it are kept.
type Sync struct {
	// Interval between two rounds; a tenth more or less is left to chance.
	Interval jit.Duration `yaml:"interval"`
	// KeepRuns is how many runs are kept with their plans, KeepRunsFor how long the
	// oldest of them is (Rule PLAN-7).
	KeepRuns    int          `yaml:"keep_runs"`
	KeepRunsFor jit.Duration `yaml:"keep_runs_for"`
}

// Log says how the daemon logs.
type Log struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // text or json
}

// The defaults of what may be left out.
const (
	defaultInterval = jit.Duration(5 * time.Minute)
	minInterval     = jit.Duration(time.Second)
	maxInterval     = jit.Duration(24 * time.Hour) // Rule GRAPH-18

	maxKeepRuns    = 100_000
	minKeepRunsFor = jit.Duration(time.Hour)
	maxKeepRunsFor = jit.Duration(10 * 365 * 24 * time.Hour)

	defaultStoreStale = jit.Duration(5 * time.Minute)
	minStoreStale     = jit.Duration(5 * time.Second) // it is asked every second
	maxStoreStale     = jit.Duration(24 * time.Hour)
)

var sourceID = regexp.MustCompile(`^[a-z][a-z0-9-]{0,62}$`)

// Load reads and checks a configuration file. Faults are document.Faults.
func Load(path string) (*Config, error) {
	src, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	c := &Config{
		Path: path,
		Sync: Sync{Interval: defaultInterval, KeepRuns: store.DefaultRetention.Runs, KeepRunsFor: jit.Duration(store.DefaultRetention.Age)},
		Log:  Log{Level: "info", Format: "text"},
	}
	doc, err := document.Decode(path, src, c)
	var faults document.Faults
	if err != nil && (doc == nil || !errors.As(err, &faults)) {
		return nil, err
	}
	faults = append(faults, c.check(doc)...)
	if len(faults) > 0 {
		return nil, faults.Err()
	}
	return c, nil
}

// check finds what decoding cannot.
func (c *Config) check(doc *document.Document) document.Faults {
	var faults document.Faults
	fault := func(path, problem, hint string) { faults = append(faults, doc.Fault(path, problem, hint)) }
	if (c.Store.SQLite == "") == (c.Store.Postgres == nil) {
		fault("$.store", "want exactly one of sqlite and postgres", "store: {sqlite: ambit.db} is a file beside this one")
	}
	// What stands where a reference belongs may be the secret itself: such faults
	// show the place and not the line (Rule SEC-5).
	hidden := func(path, problem string) {
		f := doc.Fault(path, problem, "")
		f.Excerpt = ""
		faults = append(faults, f)
	}
	if c.Store.Postgres != nil {
		if err := c.Store.Postgres.DSN.Validate(); err != nil {
			hidden("$.store.postgres.dsn", err.Error())
		}
		if after := c.Store.Postgres.StaleAfter; doc.Has("$.store.postgres.stale_after") && (after < minStoreStale || after > maxStoreStale) {
			fault("$.store.postgres.stale_after", fmt.Sprintf("want between %s and %s", minStoreStale, maxStoreStale), "")
		}
	}
	if c.Listen != "" {
		host, _, err := net.SplitHostPort(c.Listen)
		switch {
		case err != nil:
			fault("$.listen", "want an address and port", `listen: ":8443" listens on all addresses`)
		case c.TLS == nil && !loopback(host):
			fault("$.listen", "an address that others reach needs TLS", "add tls: {certificate: FILE, key: FILE}, or listen on 127.0.0.1 behind a proxy that has it")
		}
	}
	if doc.Has("$.authentication") {
		for _, err := range flatten(c.Authentication.Validate()) {
			fault("$.authentication", err.Error(), "")
		}
	}
	seen := map[directory.SourceID]bool{}
	for i, s := range c.Sources {
		path := document.Index("$.sources", i)
		switch {
		case !sourceID.MatchString(string(s.ID)):
			fault(document.Child(path, "id"), fmt.Sprintf("source id %q: want a lower-case word of letters, digits and hyphens", s.ID), "")
		case seen[s.ID]:
			fault(document.Child(path, "id"), fmt.Sprintf("source %q is there twice", s.ID), "")
		}
		seen[s.ID] = true
		if s.kinds() != 1 {
			fault(path, "want exactly one of ldap, active_directory, entra, scim and file", "")
		}
		if s.LDAP != nil {
			for _, err := range flatten(s.LDAP.Validate()) {
				hidden(document.Child(path, "ldap"), err.Error())
			}
		}
		if s.ActiveDirectory != nil {
			for _, err := range flatten(s.ActiveDirectory.Validate()) {
				hidden(document.Child(path, "active_directory"), err.Error())
			}
		}
		for key, after := range map[string]jit.Duration{"stale_after": s.StaleAfter, "deny_when_stale.after": s.deniedAfter()} {
			if after != 0 && after < 2*c.Sync.Interval {
				fault(path+"."+key, fmt.Sprintf("want at least twice sync.interval, %s: a source is no younger between two rounds", 2*c.Sync.Interval), "")
			}
		}
		if s.Entra != nil {
			for _, err := range flatten(s.Entra.Validate()) {
				hidden(document.Child(path, "entra"), err.Error())
			}
		}
		if s.SCIM != nil {
			for _, err := range flatten(s.SCIM.Validate()) {
				hidden(document.Child(path, "scim"), err.Error())
			}
			if len(s.SCIM.ClientCertificates)+len(s.SCIM.ClientSubjects) > 0 && c.TLS == nil {
				fault(document.Child(path, "scim"), "client_certificates, client_subjects: nobody can show one to a server without TLS", "set tls; a proxy in front of Ambit must let TLS through")
			}
		}
		if s.File != nil {
			for _, err := range flatten(s.File.Validate()) {
				fault(document.Child(path, "file"), err.Error(), "")
			}
		}
	}
	if source := directory.SourceID(c.Authentication.Source); source != "" && !seen[source] {
		fault("$.authentication.source", fmt.Sprintf("no source has the id %q", source), "")
	}
	if c.Sync.Interval < minInterval || c.Sync.Interval > maxInterval {
		fault("$.sync.interval", fmt.Sprintf("want between %s and %s", minInterval, maxInterval), "")
	}
	if c.Sync.KeepRuns < 1 || c.Sync.KeepRuns > maxKeepRuns {
		fault("$.sync.keep_runs", fmt.Sprintf("want between 1 and %d", maxKeepRuns), "")
	}
	if c.Sync.KeepRunsFor < minKeepRunsFor || c.Sync.KeepRunsFor > maxKeepRunsFor {
		fault("$.sync.keep_runs_for", fmt.Sprintf("want between %s and %s", minKeepRunsFor, maxKeepRunsFor), "")
	}
	if _, ok := levels[c.Log.Level]; !ok {
		fault("$.log.level", fmt.Sprintf("unknown level %q", c.Log.Level), "want debug, info, warn or error")
	}
	if c.Log.Format != "text" && c.Log.Format != "json" {
		fault("$.log.format", fmt.Sprintf("unknown format %q", c.Log.Format), "want text or json")
	}
	return faults
}

func (s Source) deniedAfter() jit.Duration {
	if s.DenyWhenStale == nil {
		return 0
	}
	return s.DenyWhenStale.After
}

// kinds counts the kinds that the source is said to be of.
func (s Source) kinds() int {
	n := 0
	for _, is := range []bool{s.LDAP != nil, s.ActiveDirectory != nil, s.Entra != nil, s.SCIM != nil, s.File != nil} {
		if is {
			n++
		}
	}
	return n
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func flatten(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, one := range joined.Unwrap() {
			all = append(all, flatten(one)...)
		}
		return all
	}
	return []error{err}
}

// File is a path of the configuration, taken from the configuration file's folder.
func (c *Config) File(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(filepath.Dir(c.Path), path)
}

// SocketPath is where commands on this host reach the daemon; empty for nowhere.
func (c *Config) SocketPath() string {
	if c.Socket == "" && c.Store.SQLite != "" {
		return filepath.Join(filepath.Dir(c.File(c.Store.SQLite)), "ambit.sock")
	}
	return c.File(c.Socket)
}

// BootstrapPath is where the bootstrap credential is written.
func (c *Config) BootstrapPath() string {
	const name = "bootstrap-credential"
	switch {
	case c.BootstrapFile != "":
		return c.File(c.BootstrapFile)
	case c.Store.SQLite != "":
		return filepath.Join(filepath.Dir(c.File(c.Store.SQLite)), name)
	}
	return c.File(name)
}
