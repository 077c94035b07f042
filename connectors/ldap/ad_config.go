package ldap

import (
	"errors"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// ADConfig is one domain of Active Directory.
type ADConfig struct {
	// Server is the domain controller that is read. A DN or a user principal name
	// is good for bind_dn.
	Server `yaml:",inline"`
	// Fallbacks are URLs of other controllers of the domain, which are asked in
	// this order when those before cannot be reached (Rule AD-11).
	Fallbacks []string `yaml:"fallbacks"`
	// Domain is the DN of the domain's root, such as DC=corp,DC=example; the
	// controller's own where it is absent.
	Domain string `yaml:"domain"`

	Users  ADUsers  `yaml:"users"`
	Groups ADGroups `yaml:"groups"`

	// Changes names the way in which changes are followed: dirsync, usn, or none,
	// which reads everything each time. Where it is absent the first that the
	// controller offers is taken (Rule AD-1).
	Changes string `yaml:"changes"`
	// FullHours is as in Config.
	FullHours int `yaml:"full_hours"`
}

// ADUsers says where people are, and which attributes tell what.
type ADUsers struct {
	Base        string `yaml:"base"`         // the whole domain
	UserName    string `yaml:"user_name"`    // userPrincipalName
	DisplayName string `yaml:"display_name"` // displayName
	Mail        string `yaml:"mail"`         // mail
	// Guest marks guests, as "attribute=value".
	Guest string `yaml:"guest"`
}

// ADGroups says where groups are.
type ADGroups struct {
	Base  string `yaml:"base"`  // the whole domain
	Name  string `yaml:"name"`  // name, which is cn's value
	Owner string `yaml:"owner"` // managedBy
}

// The ways in which the changes of a domain are followed.
const (
	dirSync = "dirsync"
	byUSN   = "usn"
)

// Validate reports every fault that can be seen without connecting.
func (c ADConfig) Validate() error {
	faults := c.Server.validate()
	for _, url := range c.Fallbacks {
		one := c.Server
		one.URL = url
		for _, err := range one.validate() {
			faults.add("fallbacks: %w", err)
		}
	}
	for field, base := range map[string]string{"domain": c.Domain, "users.base": c.Users.Base, "groups.base": c.Groups.Base} {
		if base != "" {
			faults.dn(field, base)
		}
	}
	if c.Users.Guest != "" && !strings.Contains(c.Users.Guest, "=") {
		faults.add("users.guest: want an attribute and a value, such as employeeType=guest")
	}
	switch c.Changes {
	case "", dirSync, byUSN, everything:
	default:
		faults.add("changes: want dirsync, usn or none, not %q", c.Changes)
	}
	if c.FullHours < 0 {
		faults.add("full_hours: want a positive number")
	}
	return errors.Join(faults...)
}

func (c ADConfig) withDefaults() ADConfig {
	or(&c.Users.UserName, "userPrincipalName")
	or(&c.Users.DisplayName, "displayName")
	or(&c.Users.Mail, "mail")
	or(&c.Groups.Name, "name")
	or(&c.Groups.Owner, "managedBy")
	c.Server = c.Server.withDefaults()
	if c.FullHours == 0 {
		c.FullHours = int(defaultFull / time.Hour)
	}
	return c
}

// newADShape makes one for the objects of a kind. All that the connector needs
// besides is in adObject.
func (c ADConfig) newADShape(kind directory.Kind, extra []string) *shape {
	s := &shape{kind: kind, roles: map[string]role{}, cache: map[string]role{}}
	set := func(attribute string, edit func(*role)) {
		r := s.roles[strings.ToLower(attribute)]
		edit(&r)
		s.roles[strings.ToLower(attribute)] = r
	}
	first := func(attribute, name string) {
		set(attribute, func(r *role) { r.first = append(r.first, name) })
	}
	switch kind {
	case directory.KindUser:
		u := c.Users
		first(u.UserName, directory.AttrUserName)
		first(u.DisplayName, directory.AttrDisplayName)
		first(u.Mail, directory.AttrMail)
		set("manager", func(r *role) { r.manager = true })
		if attribute, value, ok := strings.Cut(u.Guest, "="); ok {
			set(attribute, func(r *role) { r.guest = value })
		}
	case directory.KindGroup:
		first(c.Groups.Name, directory.AttrDisplayName)
		set(c.Groups.Owner, func(r *role) { r.owners = true })
	default:
		first("name", directory.AttrDisplayName)
	}
	if kind != directory.KindOther {
		for _, name := range extra {
			if !nameIsFilledIn(kind, name) {
				set(name, func(r *role) { r.all = append(r.all, name) })
			}
		}
	}
	return s
}
