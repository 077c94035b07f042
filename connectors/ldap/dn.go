package ldap

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// oids are the numeric names of the attribute types that occur in DNs.
var oids = map[string]string{
	"2.5.4.3": "cn", "2.5.4.4": "sn", "2.5.4.5": "serialnumber", "2.5.4.6": "c", "2.5.4.7": "l", "2.5.4.8": "st", "2.5.4.9": "street",
	"2.5.4.10": "o", "2.5.4.11": "ou", "2.5.4.12": "title", "2.5.4.42": "givenname", "0.9.2342.19200300.100.1.1": "uid",
	"0.9.2342.19200300.100.1.25": "dc", "0.9.2342.19200300.100.1.3": "mail", "1.2.840.113549.1.9.1": "mail",
	"commonname": "cn", "surname": "sn", "countryname": "c", "localityname": "l", "organizationname": "o", "organizationalunitname": "ou",
	"userid": "uid", "domaincomponent": "dc", "emailaddress": "mail",
}

var attributeType = regexp.MustCompile(`^([a-z][a-z0-9-]*|[0-9]+(\.[0-9]+)*)$`)

// NormalDN brings a DN to the form in which DNs are compared (Rule LDAP-9): types
// by their short lower-case name, values case-folded with inner spaces squeezed,
// escapes decoded and written one way, the parts of a multi-valued RDN in order.
// Two DNs name the same entry when their normal forms are the same string.
func NormalDN(dn string) (string, error) {
	if n, ok := plainDN(dn); ok {
		return n, nil
	}
	parsed, err := ldap.ParseDN(dn)
	if err != nil {
		return "", err
	}
	rdns := make([]string, len(parsed.RDNs))
	for i, rdn := range parsed.RDNs {
		parts := make([]string, len(rdn.Attributes))
		for j, a := range rdn.Attributes {
			name := strings.TrimPrefix(strings.ToLower(strings.TrimSpace(a.Type)), "oid.")
			if short := oids[name]; short != "" {
				name = short
			}
			if !attributeType.MatchString(name) {
				return "", fmt.Errorf("%q is not an attribute type", a.Type)
			}
			value := cases.Fold().String(norm.NFC.String(a.Value))
			parts[j] = name + "=" + ldap.EscapeDN(strings.Join(strings.Fields(value), " "))
		}
		slices.Sort(parts)
		rdns[i] = strings.Join(parts, "+")
	}
	return strings.Join(rdns, ","), nil
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
			if !inType || i == start || i+1 == len(dn) || dn[i+1] == ',' || oids[strings.ToLower(dn[start:i])] != "" || dn[start] >= '0' && dn[start] <= '9' {
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
