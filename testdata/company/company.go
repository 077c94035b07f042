// Package company makes up a company from a seed: people, groups and where they
// sit, for the demo, the tests and the benchmarks. The same seed and options
// give the same company, byte for byte.
//
// Part of it lives in an LDAP directory and part in Entra ID; servers are filled
// from it with WriteLDIF, ldaptest and graphtest.
package company

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/google/uuid"
)

// Home is the directory in which a person or group is kept.
type Home string

// The directories.
const (
	LDAP  Home = "ldap"
	Entra Home = "entra"
)

// Person is somebody with an account.
type Person struct {
	ID         string // a UUID
	UID        string // sign-in name before the @
	Name       string
	Mail       string // also the sign-in name
	Kind       string // "staff" or "contractor"
	Department string
	Unit       string // the business unit's name
	Manager    string // a person's ID; empty at the top
	Number     string // of the employee
	Enabled    bool
	Guest      bool
	Licensed   bool
	Home       Home
}

// Group is a group of people and groups of the same directory.
type Group struct {
	ID          string
	Name        string
	Description string
	M365        bool     // else a security group
	Members     []string // ids of people
	Groups      []string // ids of groups
	Owners      []string // ids of people
	Home        Home
}

// Company is all of it.
type Company struct {
	People []Person
	Groups []Group

	people map[string]int
	groups map[string]int
}

// Domain is the company's mail domain.
const Domain = "contoso.example"

// PlanID is the service plan that makes a person of Entra ID licensed.
const PlanID = "6ea4c1ef-c259-46df-bce2-943342cd3cb2"

// Units are the business units of the small company with their parents; the
// first is the root.
func Units() [][2]string {
	return [][2]string{
		{"Contoso", ""}, {"EMEA", "Contoso"}, {"Americas", "Contoso"}, {"APAC", "Contoso"}, {"Germany", "EMEA"}, {"France", "EMEA"},
	}
}

// People of the small company on whom a tour can rely. All are in LDAP.
const (
	Employee  = "amelie.durand" // sells in France
	Colleague = "lucas.moreau"  // sells in France too
	Approver  = "bruno.keller"  // Amelie's manager, in group elevation-approvers
	Auditor   = "ines.haddad"   // in group ambit-auditors
	Admin     = "tomas.novak"   // in group ambit-admins
	Leaver    = "nadia.petrova" // in group sales-france, about to leave it
)

// Groups of the small company on which a tour can rely.
const (
	SalesFrance = "sales-france"       // LDAP
	AllStaff    = "all-staff"          // LDAP, over 100 members
	Planning    = "Quarterly Planning" // Entra ID, Microsoft 365, with owners and guests
	ProjectSG   = "projects-access"    // Entra ID, the projects environment's security group
)

var (
	given = strings.Fields("Amina Björn Chloé Daniel Eleni Fatima Gustavo Hana Igor Jürgen Keiko Liam Mira Noah Olga Pavel Qiang Rosa Søren Tariq Uma Victor Wei Ximena Yusuf Zoë Émile Łukasz Çağla José")
	// Some names are in other scripts, as they are in real directories.
	family = strings.Fields("Andersson Bauer Costa Dubois Eriksen Fischer García Horváth Ivanova Jensen Kowalski Laurent Müller Nakamura Okafor Petit Quintero Rossi Schmidt Tanaka Ueda Vasquez Weber Xu Yamamoto Zhang 山田 Παπαδόπουλος Иванов حسن")
	plain  = strings.NewReplacer("ö", "o", "ü", "u", "é", "e", "ø", "o", "ë", "e", "Ł", "L", "ł", "l", "Ç", "C", "ç", "c", "ğ", "g", "í", "i", "á", "a", "É", "E")
)

// id makes a stable UUID of a thing's name.
func id(seed int64, what string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%s", seed, what))
	u, _ := uuid.FromBytes(sum[:16]) // sixteen bytes always make one
	u[6], u[8] = u[6]&0x0f|0x40, u[8]&0x3f|0x80
	return u.String()
}

// Person finds somebody by uid; a name that is not there is the caller's mistake.
func (c *Company) Person(uid string) *Person {
	i, ok := c.people[uid]
	if !ok {
		panic("internal error: no such person in the company: " + uid)
	}
	return &c.People[i]
}

// Group finds a group by name; a name that is not there is the caller's mistake.
func (c *Company) Group(name string) *Group {
	i, ok := c.groups[name]
	if !ok {
		panic("internal error: no such group in the company: " + name)
	}
	return &c.Groups[i]
}

func (c *Company) index() *Company {
	c.people, c.groups = map[string]int{}, map[string]int{}
	for i, p := range c.People {
		c.people[p.UID] = i
	}
	for i, g := range c.Groups {
		c.groups[g.Name] = i
	}
	return c
}

// Small is the company of the demo: 300 people in six business units and 60
// groups, about half of each in either directory.
func Small() *Company {
	const seed, size = 7, 300
	r := rand.New(rand.NewPCG(seed, size))
	c := &Company{}
	units := Units()
	add := func(uid, name, unit, department string, home Home) *Person {
		n := len(c.People) + 1
		c.People = append(c.People, Person{
			ID: id(seed, "person/"+uid), UID: uid, Name: name, Mail: uid + "@" + Domain, Kind: "staff", Department: department,
			Unit: unit, Number: fmt.Sprintf("E%05d", n), Enabled: true, Licensed: true, Home: home,
		})
		return &c.People[n-1]
	}
	add(Approver, "Bruno Keller", "EMEA", "sales", LDAP)
	boss := c.People[0].ID
	for _, p := range [][4]string{
		{Employee, "Amélie Durand", "France", "sales"}, {Colleague, "Lucas Moreau", "France", "sales"}, {Leaver, "Nadia Petrova", "France", "sales"},
		{Auditor, "Inès Haddad", "Contoso", "audit"}, {Admin, "Tomáš Novák", "Contoso", "it"},
	} {
		add(p[0], p[1], p[2], p[3], LDAP).Manager = boss
	}
	departments := []string{"sales", "service", "marketing", "finance", "it"}
	for n := len(c.People); n < size; n++ {
		name := given[r.IntN(len(given))] + " " + family[r.IntN(len(family))]
		home, unit := LDAP, units[r.IntN(len(units))][0]
		if n%2 == 1 {
			home = Entra
		}
		uid := fmt.Sprintf("%s.%03d", strings.ToLower(plain.Replace(strings.Fields(name)[0])), n)
		p := add(uid, name, unit, departments[r.IntN(len(departments))], home)
		p.Enabled = n%23 != 0
		p.Licensed = n%17 != 0
		if n%11 == 0 {
			p.Kind = "contractor"
		}
		if home == Entra && n%13 == 0 {
			p.Guest = true
		}
		if home == LDAP {
			p.Manager = c.People[r.IntN(6)].ID
		} else if n > 20 {
			p.Manager = c.People[7+2*r.IntN(6)].ID
		}
	}

	group := func(name string, home Home, members func(p Person) bool) *Group {
		g := Group{ID: id(seed, "group/"+name), Name: name, Description: strings.ReplaceAll(name, "-", " "), Home: home}
		for _, p := range c.People {
			if p.Home == home && members(p) {
				g.Members = append(g.Members, p.ID)
			}
		}
		c.Groups = append(c.Groups, g)
		return &c.Groups[len(c.Groups)-1]
	}
	named := func(uids ...string) func(Person) bool {
		return func(p Person) bool {
			for _, uid := range uids {
				if p.UID == uid {
					return true
				}
			}
			return false
		}
	}
	for _, department := range []string{"sales", "service", "marketing", "finance"} {
		for _, u := range units {
			g := group(department+"-"+strings.ToLower(u[0]), LDAP, func(p Person) bool { return p.Unit == u[0] && p.Department == department })
			if department == "sales" {
				g.Owners = []string{boss}
			}
		}
	}
	group(AllStaff, LDAP, func(Person) bool { return true })
	group("elevation-approvers", LDAP, named(Approver, Colleague))
	group("ambit-admins", LDAP, named(Admin))
	group("ambit-auditors", LDAP, named(Auditor))
	group("on-call", LDAP, named(Employee, Colleague))
	// A group of groups: its own members and those of the groups in it.
	europe := group("sales-europe", LDAP, named(Approver))
	europe.Groups = []string{id(seed, "group/sales-france"), id(seed, "group/sales-germany"), id(seed, "group/sales-emea")}
	for n := 1; len(c.Groups) < 38; n++ {
		group(fmt.Sprintf("project-%02d", n), LDAP, func(Person) bool { return r.IntN(12) == 0 })
	}

	guests := func(p Person) bool { return p.Guest }
	planning := group(Planning, Entra, func(p Person) bool { return p.Guest || p.Department == "finance" })
	planning.M365 = true
	group(ProjectSG, Entra, func(p Person) bool { return p.Department != "service" })
	group("guests", Entra, guests)
	for n := 1; len(c.Groups) < 60; n++ {
		g := group(fmt.Sprintf("squad-%02d", n), Entra, func(p Person) bool { return !p.Guest && r.IntN(9) == 0 })
		g.M365 = n%4 == 0
	}
	for i := range c.Groups {
		g := &c.Groups[i]
		if g.Home != Entra {
			continue
		}
		for _, p := range c.People {
			if p.Home == Entra && !p.Guest && len(g.Owners) < 2 && r.IntN(20) == 0 {
				g.Owners = append(g.Owners, p.ID)
			}
		}
	}
	c.index()
	nest := c.Group("squad-01")
	nest.Groups = []string{c.Group("squad-02").ID, c.Group("squad-03").ID}
	// groupOfNames needs a member (RFC 4519).
	for i := range c.Groups {
		if g := &c.Groups[i]; len(g.Members) == 0 && len(g.Groups) == 0 {
			g.Members = []string{boss}
			if g.Home == Entra {
				g.Members = []string{c.People[7].ID}
			}
		}
	}
	return c
}

// LargeUnits is how many business units a large company has, beside the root.
const LargeUnits = 200

// Large is a company of the given number of people, a tenth as many groups, and
// four memberships a person, all in LDAP: Large(50_000) has 55,000 entries.
func Large(people int) *Company {
	const seed = 11
	r := rand.New(rand.NewPCG(seed, uint64(people)))
	c := &Company{People: make([]Person, people), Groups: make([]Group, people/10)}
	for n := range c.People {
		uid := fmt.Sprintf("u%06d", n)
		name := given[r.IntN(len(given))] + " " + family[r.IntN(len(family))]
		c.People[n] = Person{
			ID: id(seed, "person/"+uid), UID: uid, Name: name, Mail: uid + "@" + Domain, Kind: "staff",
			Department: []string{"sales", "service", "finance"}[n%3], Unit: fmt.Sprintf("unit-%03d", r.IntN(LargeUnits)),
			Number: fmt.Sprintf("E%06d", n), Enabled: true, Licensed: true, Home: LDAP,
		}
		if n > 0 {
			c.People[n].Manager = c.People[n/10].ID
		}
	}
	for n := range c.Groups {
		name := fmt.Sprintf("team-%05d", n)
		g := Group{ID: id(seed, "group/"+name), Name: name, Description: "team " + name, Home: LDAP}
		seen := map[int]bool{}
		for len(g.Members) < min(40, people) {
			if m := r.IntN(people); !seen[m] {
				seen[m] = true
				g.Members = append(g.Members, c.People[m].ID)
			}
		}
		c.Groups[n] = g
	}
	return c.index()
}
