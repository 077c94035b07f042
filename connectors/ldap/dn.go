package ldap

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/text/unicode/norm"
)

// types are the other names, numeric ones too, of the attribute types that occur
// in DNs (RFC 4519, RFC 4524, RFC 2985).
var types = map[string]string{
	"2.5.4.3": "cn", "2.5.4.4": "sn", "2.5.4.5": "serialnumber", "2.5.4.6": "c", "2.5.4.7": "l", "2.5.4.8": "st", "2.5.4.9": "street",
	"2.5.4.10": "o", "2.5.4.11": "ou", "2.5.4.12": "title", "2.5.4.42": "givenname", "0.9.2342.19200300.100.1.1": "uid",
	"0.9.2342.19200300.100.1.25": "dc", "0.9.2342.19200300.100.1.3": "mail", "1.2.840.113549.1.9.1": "email",
	"commonname": "cn", "surname": "sn", "countryname": "c", "localityname": "l", "stateorprovincename": "st", "streetaddress": "street",
	"organizationname": "o", "organizationalunitname": "ou", "gn": "givenname", "userid": "uid", "domaincomponent": "dc",
	"rfc822mailbox": "mail", "emailaddress": "email", "pkcs9email": "email",
}

var attributeType = regexp.MustCompile(`^([a-z][a-z0-9-]*|[0-9]+(\.[0-9]+)*)$`)

// NormalDN brings a DN to the form in which DNs are compared (Rule LDAP-9): types
// by their short lower-case name, values in lower case with spaces squeezed,
// escapes decoded and written one way, the parts of a multi-valued RDN in order.
// Two DNs name the same entry when their normal forms are the same string.
//
// It is as coarse as slapd and, but for a few rare letters, not coarser: to slapd
// strauß and strauss are two people (see TestRule_LDAP_9_as_slapd_says).
func NormalDN(dn string) (string, error) {
	if n, ok := plainDN(dn); ok {
		return n, nil
	}
	return parsedDN(dn)
}

func parsedDN(dn string) (string, error) {
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return "", err
	}
	rdns := make([]string, len(parsed.RDNs))
	for i, rdn := range parsed.RDNs {
		parts := make([]string, len(rdn.Attributes))
		for j, a := range rdn.Attributes {
			name := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(a.Type)), "oid.")
			if short := types[name]; short != "" {
				name = short
			}
			if !attributeType.MatchString(name) {
				return "", fmt.Errorf("%q is not an attribute type", a.Type)
			}
			parts[j] = name + "=" + normalValue(a.Value)
		}
		slices.Sort(parts)
		rdns[i] = strings.Join(parts, "+")
	}
	return strings.Join(rdns, ","), nil
}

func normalValue(v string) string {
	if !utf8.ValidString(v) { // some other syntax: byte by byte
		var b strings.Builder
		for i := range len(v) {
			fmt.Fprintf(&b, `\%02x`, v[i])
		}
		return b.String()
	}
	for {
		// Letter by letter: the full case folding of Unicode joins ß and ss.
		lower := strings.Map(func(r rune) rune {
			if unicode.IsUpper(r) || unicode.IsTitle(r) {
				return unicode.ToLower(r)
			}
			return r
		}, v)
		normal := norm.NFKC.String(lower)
		if normal == v {
			break
		}
		v = normal // which may have brought up a letter to lower
	}
	// Only what is or has become a space; a tab is a letter like any other.
	return ldap.EscapeDN(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == ' ' }), " "))
}

// plainDN is the quick way for the DNs that nearly all are: ASCII, no escape, one
// type by name and one value an RDN. ok is false for all others.
func plainDN(dn string) (normal string, ok bool) {
	lower := true
	start, inType := 0, true
	for i := 0; i < len(dn); i++ {
		switch c := dn[i]; {
		case c >= 0x80 || c < ' ' || strings.IndexByte(`\+"#;<>`, c) >= 0:
			return "", false
		case c == ' ' && (i == 0 || i == len(dn)-1 || strings.IndexByte(" ,=", dn[i-1]) >= 0 || strings.IndexByte(",=", dn[i+1]) >= 0):
			return "", false // leading, trailing or doubled
		case c == '=':
			if !inType || i == start || i+1 == len(dn) || dn[i+1] == ',' || types[strings.ToLower(dn[start:i])] != "" || dn[start] >= '0' && dn[start] <= '9' {
				return "", false
			}
			inType = false
		case c == ',':
			if inType {
				return "", false
			}
			start, inType = i+1, true
		case c >= 'A' && c <= 'Z':
			lower = false
		case inType && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z'):
			return "", false
		}
	}
	if inType {
		return "", false
	}
	if lower {
		return dn, true
	}
	return strings.ToLower(dn), true
}
