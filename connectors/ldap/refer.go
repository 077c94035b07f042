package ldap

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// maxReferences bounds how far references lead on.
const maxReferences = 8

// refer returns what finds out where a reference leads: a connection to one of the
// configured servers, and the base of what is to be read there (Rule LDAP-7). The
// reference says no more than which of them; how it is spoken to is configured.
func (s *Source) refer(ctx context.Context, followed []string) func(reference string) (*connection, string, error) {
	if len(s.others) == 0 {
		return nil
	}
	return func(reference string) (*connection, string, error) {
		d, base, err := s.refers(reference)
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

// refers reads a reference (RFC 4516).
func (s *Source) refers(reference string) (*dialer, string, error) {
	u, err := url.Parse(reference)
	if err != nil || u.Hostname() == "" {
		return nil, "", fmt.Errorf("that is not a server's URL")
	}
	base := strings.TrimPrefix(u.Path, "/")
	if _, err := NormalDN(base); base == "" || err != nil {
		return nil, "", fmt.Errorf("it names no base")
	}
	if parts := strings.Split(u.RawQuery, "?"); len(parts) > 1 && parts[1] != "" && parts[1] != "sub" || len(parts) > 2 && parts[2] != "" {
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
func (c *connection) elsewhere(references []string, search func(base string) error) error {
	for _, reference := range references {
		other, base, err := c.refer(reference)
		if err != nil {
			return err
		}
		here := *c
		*c = *other
		err = search(base)
		c.close()
		*c = here
		if err != nil {
			return err
		}
	}
	return nil
}

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
