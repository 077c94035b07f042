// Package file reads users and groups from files: LDIF, CSV and JSON. It is for
// tests, for moving from one directory to another, and for places that no
// directory can be reached from.
//
// A read is complete when each file has shown that it is whole (Rule SRC-1): a
// file ends somewhere, and where a copy was cut short it ends sooner. What shows
// it is configured, see Config.End. A file that cannot be read to its end, or that
// changes meanwhile, makes the read incomplete, and the error names file and line.
//
// Files that are as they were at the last read bring a round without a change. It
// keeps no state between reads and watches no folder.
package file

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// The formats.
const (
	LDIF = "ldif"
	CSV  = "csv"
	JSON = "json"
)

// The ways in which a file shows that it is whole.
const (
	// Trailer: its last line is "# end", or "# end 40" where it has 40 records.
	Trailer = "trailer"
	// Checksum: beside it lies a file of its name and ".sha256", as sha256sum writes it.
	Checksum = "checksum"
	// Rename: whoever writes it writes another file and renames that one.
	Rename = "rename"
)

// Config is one source of files. Attributes are columns in CSV and members in
// JSON.
type Config struct {
	Format string `yaml:"format,required"` // ldif, csv or json
	// End is how each file shows that it is whole: trailer, checksum or rename.
	// JSON may do without: its last bracket shows it.
	End    string `yaml:"end"`
	Users  Users  `yaml:"users,required"`
	Groups Groups `yaml:"groups"`
	// Members are files of memberships, in CSV only.
	Members Members `yaml:"members"`
	// Comma separates the columns of CSV; "," where it is absent.
	Comma string `yaml:"comma"`
}

// Users says where people are and which attributes tell what.
type Users struct {
	Paths []string `yaml:"paths,required"`
	// ID is the attribute that never changes and never belongs to another: id, in
	// LDIF entryUUID.
	ID          string `yaml:"id"`
	UserName    string `yaml:"user_name"`    // userName, in LDIF uid
	DisplayName string `yaml:"display_name"` // displayName, in LDIF cn
	Mail        string `yaml:"mail"`         // mail
	Manager     string `yaml:"manager"`      // manager: an id, in LDIF a DN
	// Disabled marks accounts that may not be used: "name=value", or "name" for any
	// value. Empty: enabled=false, in LDIF none.
	Disabled string `yaml:"disabled"`
	// Guest marks guests likewise. Empty: userType=Guest, in LDIF none.
	Guest string `yaml:"guest"`
	// Classes are the object classes of people, in LDIF only: inetOrgPerson.
	Classes []string `yaml:"classes"`
}

// Groups says where groups are and which attributes tell what.
type Groups struct {
	Paths []string `yaml:"paths"`
	ID    string   `yaml:"id"`   // as for users
	Name  string   `yaml:"name"` // displayName, in LDIF cn
	// Members and Owners are lists of ids, in LDIF of DNs: members and owners, in LDIF
	// member and owner. In CSV they are in files of their own.
	Members string `yaml:"members"`
	Owners  string `yaml:"owners"`
	// Classes are the object classes of groups, in LDIF only: groupOfNames.
	Classes []string `yaml:"classes"`
}

// Members says where memberships are, one to a row, and which columns tell what.
type Members struct {
	Paths    []string `yaml:"paths"`
	Group    string   `yaml:"group"`    // group: an id
	Member   string   `yaml:"member"`   // member: an id
	Relation string   `yaml:"relation"` // a column of member or owner; where it is absent all are members
}

// Validate reports every fault that can be seen without reading.
func (c Config) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if !slices.Contains([]string{LDIF, CSV, JSON}, c.Format) {
		fault("format: %q is not one of ldif, csv and json", c.Format)
	}
	switch c.End {
	case Trailer, Checksum, Rename:
	case "":
		if c.Format != JSON {
			fault("end: say how a file shows that it is whole: trailer, checksum or rename; a file that was cut short must not look like one from which people are gone")
		}
	default:
		fault("end: %q is not one of trailer, checksum and rename", c.End)
	}
	if len(c.Users.Paths) == 0 {
		fault("users.paths: want at least one file")
	}
	if slices.Contains(slices.Concat(c.Users.Paths, c.Groups.Paths, c.Members.Paths), "") {
		fault("paths: one is empty")
	}
	if c.Format != CSV && (len(c.Members.Paths) > 0 || c.Comma != "") {
		fault("members, comma: go with csv only")
	}
	if c.Format == CSV && (c.Groups.Members != "" || c.Groups.Owners != "") {
		fault("groups.members, groups.owners: csv has memberships in files of their own: see members.paths")
	}
	if c.Format != LDIF && len(c.Users.Classes)+len(c.Groups.Classes) > 0 {
		fault("classes: go with ldif only")
	}
	if r, n := utf8.DecodeRuneInString(c.Comma); c.Comma != "" && (n != len(c.Comma) || strings.ContainsRune("\"\r\n", r) || r == utf8.RuneError) {
		fault("comma: want one character")
	}
	return errors.Join(faults...)
}

func (c Config) withDefaults() Config {
	or := func(s *string, ldif, other string) {
		if *s == "" && c.Format == LDIF {
			*s = ldif
		} else if *s == "" {
			*s = other
		}
	}
	or(&c.Users.ID, "entryUUID", "id")
	or(&c.Users.UserName, "uid", "userName")
	or(&c.Users.DisplayName, "cn", "displayName")
	or(&c.Users.Mail, "mail", "mail")
	or(&c.Users.Manager, "manager", "manager")
	or(&c.Users.Disabled, "", "enabled=false")
	or(&c.Users.Guest, "", "userType=Guest")
	or(&c.Groups.ID, "entryUUID", "id")
	or(&c.Groups.Name, "cn", "displayName")
	or(&c.Groups.Members, "member", "members")
	or(&c.Groups.Owners, "owner", "owners")
	or(&c.Members.Group, "", "group")
	or(&c.Members.Member, "", "member")
	or(&c.Comma, "", ",")
	if c.Format == LDIF && len(c.Users.Classes) == 0 {
		c.Users.Classes = []string{"inetOrgPerson"}
	}
	if c.Format == LDIF && len(c.Groups.Classes) == 0 {
		c.Groups.Classes = []string{"groupOfNames"}
	}
	return c
}
