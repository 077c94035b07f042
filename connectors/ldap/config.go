// Package ldap reads OpenLDAP and servers like it: users and groups, at first in
// full, then what has changed, by content synchronisation (RFC 4533) where the
// server has it and else by timestamps.
//
// A read is complete when the server itself says so, with a result and an empty
// paging cookie or with Sync Done, never because a stream ended (Rules SRC-1,
// LDAP-6, LDAP-14). What it holds at a time is bounded by the page, the largest
// group and, of a round that follows changes, the ids of what is gone.
// Nothing is ever sent to a host that is not configured: a reference to another
// makes a read incomplete.
//
// It keeps no state between reads but what the cursor says.
package ldap

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/secret"
)

// Config is one LDAP source.
type Config struct {
	Server `yaml:",inline"`

	Users  Users  `yaml:"users,required"`
	Groups Groups `yaml:"groups,required"`

	// Changes names the way in which changes are followed: content_sync, timestamps,
	// accesslog, retro_changelog, or none, which reads everything each time. Where it
	// is absent it is content_sync if the server offers that, and else timestamps; one
	// that is named and not offered is an error (Rule LDAP-3). A log that cannot be read
	// is none: all ids are listed in its place (Rule LDAP-25).
	Changes string `yaml:"changes"`
	// ChangesLog is where the log is that changes names; cn=accesslog or cn=changelog
	// where it is absent.
	ChangesLog string `yaml:"changes_log"`
	// UniqueID is the attribute that names entries for good: entryUUID, nsUniqueId for
	// 389 Directory Server, or ipaUniqueID for FreeIPA; entryUUID where it is absent.
	// Another one makes everybody somebody else (Rules SRC-4, LDAP-11).
	UniqueID string `yaml:"unique_id"`
	// Referrals are the URLs of servers that references may lead to; any other makes
	// the read incomplete (Rule LDAP-7). They are spoken to as this one is, with the
	// same account. Where there are any everything is read each time.
	Referrals []string `yaml:"referrals"`
	// FullHours is how often everything is read all the same, for what no server
	// reports, such as rights of the account that were widened; 24 where it is
	// absent.
	FullHours int `yaml:"full_hours"`
}

// Server says where a server is and how to get in.
type Server struct {
	// URL is ldaps://host[:port], ldap://host[:port] with start_tls, or
	// ldapi://%2Fpath%2Fof%2Fsocket.
	URL string `yaml:"url,required"`
	// StartTLS turns a plain connection into an encrypted one before anything is
	// said on it (Rule LDAP-1).
	StartTLS bool `yaml:"start_tls"`
	// CAFile holds the certificates that the server's is verified with, in PEM;
	// empty means the system's.
	CAFile string `yaml:"ca_file"`
	// ServerName is the name that the server's certificate must have, if it is not
	// the URL's host.
	ServerName string `yaml:"server_name"`
	// BindDN and Password are for a simple bind.
	BindDN   string     `yaml:"bind_dn"`
	Password secret.Ref `yaml:"password"`
	// External binds by SASL EXTERNAL: as the process's user over ldapi, else by
	// ClientCertificate and ClientKey, files in PEM.
	External          bool   `yaml:"external"`
	ClientCertificate string `yaml:"client_certificate"`
	ClientKey         string `yaml:"client_key"`
	// GSSAPI binds by Kerberos.
	GSSAPI *GSSAPI `yaml:"gssapi"`
	// InsecurePlaintextLoopback allows ldap:// without TLS to this very host.
	InsecurePlaintextLoopback bool `yaml:"insecure_plaintext_loopback"`

	// PageSize is how many entries are asked for at once; 1000 where it is absent.
	PageSize uint32 `yaml:"page_size"`
	// IdleSeconds is how long the server may say nothing; 60 where it is absent.
	IdleSeconds int `yaml:"idle_seconds"`
}

// Users says where people are and which attributes tell what. An absent
// attribute name takes the one of inetOrgPerson.
type Users struct {
	Base        string `yaml:"base,required"`
	Filter      string `yaml:"filter"`       // (objectClass=inetOrgPerson)
	UserName    string `yaml:"user_name"`    // uid
	DisplayName string `yaml:"display_name"` // cn
	Mail        string `yaml:"mail"`         // mail
	Manager     string `yaml:"manager"`      // manager, a DN
	// Disabled marks accounts that may not be used (Rule LDAP-13): "name" is an
	// attribute that only they have, such as pwdAccountLockedTime, and "name=value"
	// one that has this value. Empty: accounts have no such mark.
	Disabled string `yaml:"disabled"`
	// Expires is an attribute with the day from which the account may not be used,
	// counted from 1970-01-01 as shadowExpire does, or with the instant, in generalized
	// time, as krbPrincipalExpiration does (Rule LDAP-13). Empty: accounts do not end.
	Expires string `yaml:"expires"`
	// Guest marks guests, as "name=value".
	Guest string `yaml:"guest"`
}

// Groups says where groups are and of which classes they are.
type Groups struct {
	Base   string `yaml:"base,required"`
	Filter string `yaml:"filter"` // any of the classes
	// Classes are object classes out of groupOfNames, groupOfUniqueNames, posixGroup
	// and groupOfURLs; groupOfNames where it is absent (Rule LDAP-12).
	Classes []string `yaml:"classes"`
	Name    string   `yaml:"name"`  // cn
	Owner   string   `yaml:"owner"` // owner
}

const (
	defaultPageSize = 1000
	maxPageSize     = 100_000
	defaultIdle     = 60 * time.Second
	defaultFull     = 24 * time.Hour
)

// The ways in which changes are followed.
const (
	contentSync = "content_sync"
	timestamps  = "timestamps"
	accessLog   = "accesslog"       // timestamps, and OpenLDAP's log
	retroLog    = "retro_changelog" // timestamps, and 389 Directory Server's log
	everything  = "none"
)

type faults []error

func (f *faults) add(format string, args ...any) { *f = append(*f, fmt.Errorf(format, args...)) }

func (f *faults) dn(field, base string) {
	if _, err := ldap.ParseDN(base); base == "" || err != nil {
		f.add("%s: %q is not a DN", field, base)
	}
}

// validate reports what is wrong with the server's settings.
func (c Server) validate() faults {
	var faults faults
	fault := faults.add
	where, err := parseURL(c.URL)
	switch {
	case err != nil:
		fault("url: %w", err)
	case where.scheme == "ldap" && !c.StartTLS && !c.InsecurePlaintextLoopback:
		fault("url: ldap:// would send the password in the clear (Rule LDAP-1); use ldaps:// or start_tls: true")
	case where.scheme == "ldap" && !c.StartTLS && !loopback(where.host):
		fault("insecure_plaintext_loopback: %s is not this host", where.host)
	case where.scheme != "ldap" && c.StartTLS:
		fault("start_tls: goes with ldap:// only")
	}
	switch {
	case c.External && (c.BindDN != "" || c.Password != "" || c.GSSAPI != nil):
		fault("external: goes without bind_dn, password and gssapi")
	case c.GSSAPI != nil && (c.BindDN != "" || c.Password != ""):
		fault("gssapi: goes without bind_dn and password")
	case c.GSSAPI != nil && err == nil && where.scheme == "ldapi":
		fault("gssapi: goes with ldaps:// and ldap://; over a socket use external: true")
	case c.GSSAPI == nil && !c.External && (c.BindDN == "" || c.Password == ""):
		// An empty password would be an unauthenticated bind (Rule LDAP-2).
		fault("bind_dn, password: want both, or external: true, or gssapi")
	}
	if c.GSSAPI != nil {
		c.GSSAPI.validate(fault)
	}
	if err := c.Password.Validate(); err != nil {
		fault("password: %w", err)
	}
	if (c.ClientCertificate == "") != (c.ClientKey == "") {
		fault("client_certificate, client_key: want both or none")
	}
	if c.External && err == nil && where.scheme != "ldapi" && c.ClientCertificate == "" {
		fault("external: needs ldapi:// or a client_certificate")
	}
	if c.PageSize > maxPageSize {
		fault("page_size: at most %d", maxPageSize)
	}
	if c.IdleSeconds < 0 {
		fault("idle_seconds: want a positive number")
	}
	return faults
}

// Validate reports every fault that can be seen without connecting.
func (c Config) Validate() error {
	faults := c.Server.validate()
	fault := faults.add
	faults.dn("users.base", c.Users.Base)
	faults.dn("groups.base", c.Groups.Base)
	filter := func(field, text string) {
		if _, err := ldap.CompileFilter(text); err != nil {
			fault("%s: %q is not an LDAP filter: %w", field, text, err)
		}
	}
	filter("users.filter", c.withDefaults().Users.Filter)
	for _, class := range c.Groups.Classes {
		if _, ok := memberAttributes[class]; !ok {
			fault("groups.classes: %q is not one of groupOfNames, groupOfUniqueNames, posixGroup and groupOfURLs", class)
		}
	}
	filter("groups.filter", c.withDefaults().Groups.Filter)
	if c.Users.Guest != "" && !strings.Contains(c.Users.Guest, "=") {
		fault("users.guest: want an attribute and a value, such as employeeType=guest")
	}
	switch c.Changes {
	case "", contentSync, timestamps, accessLog, retroLog, everything:
	default:
		fault("changes: want content_sync, timestamps, accesslog, retro_changelog or none, not %q", c.Changes)
	}
	log, logged := c.logged()
	switch {
	case logged:
		faults.dn("changes_log", log.base)
		if own := c.withDefaults().UniqueID; idForm(own) != log.names {
			fault("changes: %s names entries by %s, and unique_id is %s; set changes: timestamps", c.Changes, log.names, own)
		}
	case c.ChangesLog != "":
		fault("changes_log: goes with changes: accesslog or retro_changelog only")
	}
	for _, url := range c.Referrals {
		one := c.Server
		one.URL = url
		for _, err := range one.validate() {
			fault("referrals: %w", err)
		}
	}
	if len(c.Referrals) > 0 && c.Changes != "" && c.Changes != everything {
		fault("changes: with referrals everything is read each time; leave changes out")
	}
	switch idForm(c.UniqueID) {
	case "", entryUUID:
	case nsUniqueID, ipaUniqueID:
		if c.Changes == contentSync {
			fault("changes: content_sync goes by entryUUID, and unique_id is %s; leave changes out", c.UniqueID)
		}
	default:
		fault("unique_id: want entryUUID, nsUniqueId or ipaUniqueID, not %q", c.UniqueID)
	}
	if c.FullHours < 0 {
		fault("full_hours: want a positive number")
	}
	return errors.Join(faults...)
}

func or(s *string, fallback string) {
	if *s == "" {
		*s = fallback
	}
}

func (c Config) withDefaults() Config {
	or(&c.Users.Filter, "(objectClass=inetOrgPerson)")
	or(&c.UniqueID, string(entryUUID))
	or(&c.Users.UserName, "uid")
	or(&c.Users.DisplayName, "cn")
	or(&c.Users.Mail, "mail")
	or(&c.Users.Manager, "manager")
	or(&c.Groups.Name, "cn")
	or(&c.Groups.Owner, "owner")
	if len(c.Groups.Classes) == 0 {
		c.Groups.Classes = []string{"groupOfNames"}
	}
	var any strings.Builder
	for _, class := range c.Groups.Classes {
		any.WriteString("(objectClass=" + ldap.EscapeFilter(class) + ")")
	}
	or(&c.Groups.Filter, "(|"+any.String()+")")
	c.Server = c.Server.withDefaults()
	if c.FullHours == 0 {
		c.FullHours = int(defaultFull / time.Hour)
	}
	return c
}

func (c Server) withDefaults() Server {
	if c.PageSize == 0 {
		c.PageSize = defaultPageSize
	}
	return c
}

func (c Server) idle() time.Duration {
	if c.IdleSeconds == 0 {
		return defaultIdle
	}
	return time.Duration(c.IdleSeconds) * time.Second
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
