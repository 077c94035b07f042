package mapping

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// pattern says which groups are meant: one by id, or those whose name or DN fits.
type pattern struct {
	text string
	id   directory.ObjectID // of the one group, or empty
	name *regexp.Regexp     // for the name, or nil
	// rdns are for the DN, from its left; below means that more may stand left of
	// them.
	rdns  []rdnPattern
	below bool
}

// rdnPattern is for one component of a DN: its attribute types, folded and
// sorted, and a pattern for each one's value.
type rdnPattern struct {
	types  []string
	values []*regexp.Regexp
	plain  []string // the values as they were written
}

// looksLikeDN: "cn=…" is a DN, everything else a name.
var looksLikeDN = regexp.MustCompile(`^(\*\*,)?\s*[A-Za-z][A-Za-z0-9.-]*\s*=`)

func parsePattern(text string) (*pattern, error) {
	p := &pattern{text: text}
	if id, ok := strings.CutPrefix(text, "id:"); ok {
		p.id = directory.ObjectID(strings.TrimSpace(id))
		if p.id == "" {
			return nil, errors.New("no id after id:")
		}
		return p, nil
	}
	if strings.TrimSpace(text) == "" {
		return nil, errors.New("an empty pattern")
	}
	if !looksLikeDN.MatchString(text) {
		p.name = wildcards(text)
		return p, nil
	}
	var dn string
	dn, p.below = strings.CutPrefix(text, "**,")
	if !p.below {
		dn = text
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return nil, fmt.Errorf("not a DN: %w", err)
	}
	for _, r := range parsed.RDNs {
		var rp rdnPattern
		for _, a := range sortedRDN(r) {
			if strings.Contains(a.Type, "*") || strings.Contains(a.Value, "**") {
				return nil, errors.New("** stands only at the beginning of a DN, and * only in values")
			}
			rp.types = append(rp.types, strings.ToLower(a.Type))
			rp.values = append(rp.values, wildcards(squeeze(a.Value)))
			rp.plain = append(rp.plain, squeeze(a.Value))
		}
		p.rdns = append(p.rdns, rp)
	}
	return p, nil
}

// wildcards compiles text in which * stands for any characters. Case does not
// count (Rule LDAP-9).
func wildcards(text string) *regexp.Regexp {
	var b strings.Builder
	b.WriteString(`(?is)^`)
	for i, literal := range strings.Split(text, "*") {
		if i > 0 {
			b.WriteString("(.*)")
		}
		b.WriteString(regexp.QuoteMeta(literal))
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}

// captures is how many wildcards the pattern has.
func (p *pattern) captures() int {
	n := 0
	if p.name != nil {
		n = p.name.NumSubexp()
	}
	for _, r := range p.rdns {
		for _, v := range r.values {
			n += v.NumSubexp()
		}
	}
	return n
}

// match tells whether the group is meant, and what the wildcards took, after the
// whole name or DN.
func (p *pattern) match(g *matchable) ([]string, bool) {
	switch {
	case p.id != "":
		return []string{g.Name()}, p.id == g.ID
	case p.name != nil:
		m := p.name.FindStringSubmatch(g.Name())
		return m, m != nil
	}
	rdns := g.rdns()
	if len(rdns) < len(p.rdns) || len(rdns) > len(p.rdns) && !p.below || len(rdns) == len(p.rdns) && p.below {
		return nil, false
	}
	captures := []string{g.DN}
	for i, want := range p.rdns {
		got := rdns[len(rdns)-len(p.rdns)+i]
		if len(got) != len(want.types) {
			return nil, false
		}
		for j, a := range got {
			m := want.values[j].FindStringSubmatch(squeeze(a.Value))
			if m == nil || !strings.EqualFold(a.Type, want.types[j]) {
				return nil, false
			}
			captures = append(captures, m[1:]...)
		}
	}
	return captures, true
}

// covers tells whether p matches every group that q matches, as far as that can
// be seen: it may say no where it is so, never yes where it is not.
func (p *pattern) covers(q *pattern) bool {
	// A wildcard of q stands as a character that only p's wildcards can match.
	stars := func(s string) string { return strings.ReplaceAll(s, "*", "\x00") }
	switch {
	case p.id != "" || q.id != "":
		return p.id == q.id
	case p.name != nil && q.name != nil:
		return p.name.MatchString(stars(q.text))
	case p.name != nil || q.name != nil:
		return p.text == "*"
	case len(q.rdns) < len(p.rdns) || len(q.rdns) > len(p.rdns) && !p.below:
		return false
	case len(q.rdns) == len(p.rdns) && p.below != q.below:
		return false
	case q.below && !p.below:
		return false
	}
	for i, want := range p.rdns {
		got := q.rdns[len(q.rdns)-len(p.rdns)+i]
		if !slices.Equal(want.types, got.types) {
			return false
		}
		for j := range want.values {
			if !want.values[j].MatchString(stars(got.plain[j])) {
				return false
			}
		}
	}
	return true
}

// matchable is a group with its DN taken apart at most once.
type matchable struct {
	*subject
	parsed  bool
	dnParts [][]*ldap.AttributeTypeAndValue
}

func (m *matchable) rdns() [][]*ldap.AttributeTypeAndValue {
	if m.parsed {
		return m.dnParts
	}
	m.parsed = true
	dn, err := ldap.ParseDN(m.DN)
	if err != nil || m.DN == "" {
		return nil // a DN that is none fits no pattern
	}
	for _, r := range dn.RDNs {
		m.dnParts = append(m.dnParts, sortedRDN(r))
	}
	return m.dnParts
}

// sortedRDN brings the parts of a component into the one order: they have none.
func sortedRDN(r *ldap.RelativeDN) []*ldap.AttributeTypeAndValue {
	return slices.SortedFunc(slices.Values(r.Attributes), func(a, b *ldap.AttributeTypeAndValue) int {
		return strings.Compare(strings.ToLower(a.Type), strings.ToLower(b.Type))
	})
}

func squeeze(s string) string { return strings.Join(strings.Fields(s), " ") }
