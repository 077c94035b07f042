package ldap

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	ber "github.com/go-asn1-ber/asn1-ber"
	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// maxReferences bounds how far references lead on.
const maxReferences = 8

// refer returns what finds out where a reference leads: a connection to one of the
// configured servers, and the base of what is to be read there (Rule LDAP-7). The
// reference says no more than which of them; how it is spoken to is configured.
func (s *Source) refer(ctx context.Context, followed []string) func(reference string, scope int) (*connection, string, error) {
	if len(s.others) == 0 {
		return nil
	}
	return func(reference string, scope int) (*connection, string, error) {
		d, base, err := s.refers(reference, scope)
		if err != nil {
			return nil, "", fmt.Errorf("%w: the server refers to %s: %w (Rule LDAP-7)", directory.ErrIncomplete, reference, err)
		}
		step := d.config.URL + " " + base
		if len(followed) == maxReferences || slices.Contains(followed, step) {
			return nil, "", fmt.Errorf("%w: references lead in a circle, or too far: %s (Rule LDAP-7)", directory.ErrIncomplete, strings.Join(append(followed, step), ", "))
		}
		c, err := d.connect(ctx)
		if err != nil {
			return nil, "", fmt.Errorf("%w: the server refers to %s: %w", directory.ErrIncomplete, reference, err)
		}
		c.refer = s.refer(ctx, append(slices.Clip(followed), step))
		return c, base, nil
	}
}

// refers reads a reference (RFC 4516) that a search of that scope came upon.
func (s *Source) refers(reference string, scope int) (*dialer, string, error) {
	u, err := url.Parse(reference)
	if err != nil || u.Hostname() == "" {
		return nil, "", fmt.Errorf("that is not a server's URL")
	}
	base := strings.TrimPrefix(u.Path, "/")
	if _, err := NormalDN(base); base == "" || err != nil {
		return nil, "", fmt.Errorf("it names no base")
	}
	parts := append(strings.Split(u.RawQuery, "?"), "", "")
	if own, ok := scopes[parts[1]]; parts[1] != "" && (!ok || own != scope) || parts[2] != "" {
		return nil, "", fmt.Errorf("it asks for another search")
	}
	// A reference without a port means the host: ldap:// there may be ldaps:// here.
	for _, d := range s.others {
		_, port, _ := net.SplitHostPort(d.target.address)
		if strings.EqualFold(d.target.host, u.Hostname()) && (u.Port() == "" || u.Port() == port) {
			return d, base, nil
		}
	}
	return nil, "", fmt.Errorf("which is none of referrals")
}

// elsewhere searches on where references lead to.
func (c *connection) elsewhere(references []string, scope int, search func(base string) error) error {
	for _, reference := range references {
		other, base, err := c.refer(reference, scope)
		if err == nil {
			err = c.on(other, base, search)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// on searches by another connection, which it closes.
func (c *connection) on(other *connection, base string, search func(base string) error) error {
	here := *c
	*c = *other
	err := search(base)
	c.close()
	*c = here
	return err
}

// referred searches where the base itself leads to, if err says that it is a
// referral: any of the servers that it names has all (RFC 4511, 4.1.10).
func (c *connection) referred(err error, scope int, search func(base string) error) error {
	if c.refer == nil {
		return err
	}
	for i, reference := range referrals(err) {
		other, base, refused := c.refer(reference, scope)
		switch {
		case refused == nil:
			return c.on(other, base, search)
		case i == 0:
			err = refused
		default:
			err = fmt.Errorf("%w; %w", err, refused)
		}
	}
	return err
}

// referrals are the URLs to which a result leads (RFC 4511, 4.1.10).
func referrals(err error) (urls []string) {
	result, ok := errors.AsType[*ldap.Error](err)
	if !ok || result.ResultCode != ldap.LDAPResultReferral {
		return nil
	}
	for _, part := range result.Packet.Children[1].Children {
		if part.ClassType == ber.ClassContext && part.Tag == tagReferral {
			for _, u := range part.Children {
				urls = append(urls, u.Data.String())
			}
		}
	}
	return urls
}

// tagReferral is that of a result's referral.
const tagReferral = 3

// references tells of those below a base, which are entries when asked for so.
func (c *connection) references(base string) (facts []string, err error) {
	var e entry
	manage := ldap.NewControlManageDsaIT(true)
	err = c.paged(base, "(objectClass=referral)", []string{"ref"}, []ldap.Control{manage}, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		for _, a := range e.attributes {
			facts = append(facts, fmt.Sprintf("%s refers to %s", e.dn, strings.Join(a.values, " or ")))
		}
		return nil
	}, func() error { return nil })
	return facts, err
}
