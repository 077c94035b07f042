package company

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"strings"
)

// Suffix is the naming context of the company's LDAP directory.
const Suffix = "dc=example,dc=com"

// DN is the person's name in LDAP.
func (p Person) DN() string { return "uid=" + p.UID + ",ou=people," + Suffix }

// DN is the group's name in LDAP.
func (g Group) DN() string { return "cn=" + g.Name + ",ou=groups," + Suffix }

// Entry is an LDAP entry: a name, and attributes in order.
type Entry struct {
	DN         string
	Attributes []Attribute
}

// Attribute is one attribute of an entry.
type Attribute struct {
	Name   string
	Values []string
}

// Entries lists the LDAP directory's entries, parents first.
func (c *Company) Entries() []Entry {
	dns := make(map[string]string, len(c.People)+len(c.Groups))
	for _, p := range c.People {
		dns[p.ID] = p.DN()
	}
	for _, g := range c.Groups {
		dns[g.ID] = g.DN()
	}
	out := []Entry{
		{Suffix, []Attribute{{"objectClass", []string{"dcObject", "organization"}}, {"dc", []string{"example"}}, {"o", []string{"Contoso"}}}},
		{"ou=people," + Suffix, []Attribute{{"objectClass", []string{"organizationalUnit"}}, {"ou", []string{"people"}}}},
		{"ou=groups," + Suffix, []Attribute{{"objectClass", []string{"organizationalUnit"}}, {"ou", []string{"groups"}}}},
	}
	one := func(name, value string) Attribute { return Attribute{name, []string{value}} }
	for _, p := range c.People {
		if p.Home != LDAP {
			continue
		}
		_, family, _ := strings.Cut(p.Name, " ")
		e := Entry{p.DN(), []Attribute{
			one("objectClass", "inetOrgPerson"), one("uid", p.UID), one("cn", p.Name), one("sn", family), one("displayName", p.Name), one("mail", p.Mail),
			one("employeeType", p.Kind), one("employeeNumber", p.Number), one("departmentNumber", p.Department), one("ou", p.Unit), one("entryUUID", p.ID),
		}}
		if !p.Enabled { // as the password policy overlay marks it, for good
			e.Attributes = append(e.Attributes, one("pwdAccountLockedTime", "000001010000Z"))
		}
		if dn := dns[p.Manager]; dn != "" {
			e.Attributes = append(e.Attributes, one("manager", dn))
		}
		out = append(out, e)
	}
	for _, g := range c.Groups {
		if g.Home != LDAP {
			continue
		}
		e := Entry{g.DN(), []Attribute{
			one("objectClass", "groupOfNames"), one("cn", g.Name), one("description", g.Description), one("entryUUID", g.ID),
		}}
		list := func(name string, ids ...[]string) {
			a := Attribute{Name: name}
			for _, l := range ids {
				for _, id := range l {
					a.Values = append(a.Values, dns[id])
				}
			}
			if len(a.Values) > 0 {
				e.Attributes = append(e.Attributes, a)
			}
		}
		list("member", g.Members, g.Groups)
		list("owner", g.Owners)
		out = append(out, e)
	}
	return out
}

// WriteLDIF writes the LDAP directory as LDIF (RFC 2849), for slapadd.
func (c *Company) WriteLDIF(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<16)
	for _, e := range c.Entries() {
		fmt.Fprintf(b, "dn: %s\n", e.DN)
		for _, a := range e.Attributes {
			for _, v := range a.Values {
				writeValue(b, a.Name, v)
			}
		}
		fmt.Fprintln(b)
	}
	return b.Flush()
}

// writeValue writes one line; a value that is not plain ASCII goes in base64.
func writeValue(w io.Writer, name, value string) {
	safe := value != "" && !strings.ContainsAny(value[:1], " :<") && !strings.HasSuffix(value, " ")
	for i := 0; safe && i < len(value); i++ {
		safe = value[i] >= ' ' && value[i] < 0x7f
	}
	if safe {
		fmt.Fprintf(w, "%s: %s\n", name, value)
		return
	}
	fmt.Fprintf(w, "%s:: %s\n", name, base64.StdEncoding.EncodeToString([]byte(value)))
}
