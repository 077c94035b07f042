package ldap

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/directory"
)

// role is what an attribute of the source is for. One attribute can have several.
type role struct {
	id, manager     bool
	version         bool     // of the entry's state
	disabled, guest string   // the value that marks the account; anyValue for each
	expires         bool     // it tells when the account ends
	first           []string // the names under which rules find its first value
	all             []string // the names under which rules ask for all its values
	members         byte     // of how it names members: see the constants
	owners          bool
}

const anyValue = "*"

// maxCache bounds how many spellings are remembered: a server may make up any.
const maxCache = 1000

// How a group's attribute names its members (Rule LDAP-12).
const (
	byDN      = 'd' // member
	byDNAndID = 'u' // uniqueMember: a DN, and perhaps a bit string
	byUID     = 'n' // memberUid
	byURL     = 's' // memberURL: by a search
)

var memberAttributes = map[string]struct {
	attribute string
	naming    byte
}{
	"groupOfNames": {"member", byDN}, "groupOfUniqueNames": {"uniqueMember", byDNAndID}, "posixGroup": {"memberUid", byUID},
	dynamicGroup: {"memberURL", byURL},
}

// shape turns the entries of one search into objects.
type shape struct {
	kind  directory.Kind
	ids   idForm
	roles map[string]role // by attribute, in lower case
	// tellsEnabled: something marks accounts that are disabled.
	tellsEnabled bool

	// cache has the roles under the names as the server writes them.
	cache map[string]role
	// stamps, if set, sees every entry's time.
	stamps *stamps
	// seen, if set, gets every entry's id.
	seen map[directory.ObjectID]struct{}

	urls []string // of the last group, where they are asked for

	slots []string // memory for values
	refs  []byte   // memory for the references of one group
	ends  []int
}

// newShape makes one for users or groups. extra are the attributes that rules
// name; what the connector fills in itself is not among them.
func (c Config) newShape(kind directory.Kind, extra []string) *shape {
	s := &shape{kind: kind, ids: idForm(c.UniqueID), roles: map[string]role{}, cache: map[string]role{}}
	set := func(attribute string, edit func(*role)) {
		if attribute != "" {
			r := s.roles[strings.ToLower(attribute)]
			edit(&r)
			s.roles[strings.ToLower(attribute)] = r
		}
	}
	set(c.UniqueID, func(r *role) { r.id = true })
	set(entryCSN, func(r *role) { r.version = true })
	if kind == directory.KindUser {
		u := c.Users
		set(u.UserName, func(r *role) { r.first = append(r.first, directory.AttrUserName) })
		set(u.DisplayName, func(r *role) { r.first = append(r.first, directory.AttrDisplayName) })
		set(u.Mail, func(r *role) { r.first = append(r.first, directory.AttrMail) })
		set(u.Manager, func(r *role) { r.manager = true })
		mark := func(setting string) (attribute, value string) {
			attribute, value, ok := strings.Cut(setting, "=")
			if !ok {
				value = anyValue
			}
			return attribute, value
		}
		disabled, value := mark(u.Disabled)
		set(disabled, func(r *role) { r.disabled = value })
		s.tellsEnabled = disabled != ""
		set(u.Expires, func(r *role) { r.expires = true })
		guest, value := mark(u.Guest)
		set(guest, func(r *role) { r.guest = value })
	} else {
		g := c.Groups
		set(g.Name, func(r *role) { r.first = append(r.first, directory.AttrDisplayName) })
		set(g.Owner, func(r *role) { r.owners = true })
		for _, class := range g.Classes {
			m := memberAttributes[class]
			set(m.attribute, func(r *role) { r.members = m.naming })
		}
	}
	for _, name := range extra {
		if !nameIsFilledIn(kind, name) {
			set(name, func(r *role) { r.all = append(r.all, name) })
		}
	}
	return s
}

// filledIn are the names that rules use for what the connector finds out itself.
var filledIn = map[directory.Kind][]string{
	directory.KindUser: {
		directory.AttrUserName, directory.AttrDisplayName, directory.AttrMail, directory.AttrEnabled, directory.AttrUserType, directory.AttrManager,
		directory.AttrExpires,
	},
	directory.KindGroup: {directory.AttrDisplayName, directory.AttrGroupKind},
}

func nameIsFilledIn(kind directory.Kind, name string) bool {
	return slices.Contains(filledIn[kind], name)
}

// attributes lists what must be asked for.
func (s *shape) attributes() []string {
	names := make([]string, 0, len(s.roles)+1)
	if _, asked := s.roles[modifyTimestamp]; s.stamps != nil && !asked {
		names = append(names, modifyTimestamp)
	}
	for name := range s.roles {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// idForm is the attribute that names an entry for good (Rule LDAP-11). It is asked
// for by name: servers keep it among those that * does not stand for.
type idForm string

const (
	entryUUID   idForm = "entryUUID"
	nsUniqueID  idForm = "nsUniqueId"
	ipaUniqueID idForm = "ipaUniqueID"
)

// entryCSN is another after each change of the entry, where the server has it.
const entryCSN = "entryCSN"

// id is what the attribute's value stands for.
func (idForm) id(value string) directory.ObjectID { return directory.ObjectID(strings.ToLower(value)) }

// of finds an entry's id; "" if it has none.
func (f idForm) of(e *entry) directory.ObjectID {
	for _, a := range e.attributes {
		if strings.EqualFold(a.name, string(f)) && len(a.values) == 1 {
			return f.id(a.values[0])
		}
	}
	return ""
}

func (f idForm) missing(dn string) error {
	return fmt.Errorf("%w: entry %q has no %s; let the account that Ambit binds as read it, or name the attribute that entries have with unique_id", directory.ErrIncomplete, dn, f)
}

// role finds an attribute's role. The server may write it in another case and
// with options (Rule LDAP-8).
func (s *shape) role(name string) (role, error) {
	r, ok := s.cache[name]
	if ok {
		return r, nil
	}
	base, options, _ := strings.Cut(strings.ToLower(name), ";")
	if strings.Contains(options, "range=") {
		// A part taken for the whole would empty groups (Rule AD-13).
		return r, fmt.Errorf("%w: the server gives %s in parts, as Active Directory does, which this connector does not read", directory.ErrIncomplete, name)
	}
	r = s.roles[base]
	if len(s.cache) < maxCache {
		s.cache[strings.Clone(name)] = r
	}
	return r, nil
}

// add puts an entry's object, edges and problems on the page. It fails where
// going on would make the entry look gone.
func (s *shape) add(e *entry, page *directory.Page) error {
	dn, err := NormalDN(e.dn)
	if err != nil {
		return fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, e.dn, err)
	}
	o := directory.Object{Kind: s.kind, DN: dn, Attributes: make(map[string][]string, 8)}
	problems := len(page.Problems)
	problem := func(a attribute, what string) {
		page.Problems = append(page.Problems, directory.Problem{DN: dn, Text: a.name + ": " + what})
	}
	if s.stamps != nil {
		s.stamps.see(e, s.ids.of(e))
	}
	if s.seen != nil {
		s.seen[s.ids.of(e)] = struct{}{}
	}
	enabled, guest, version, spoilt := true, false, "", false
	members := directory.Members{Relation: directory.Member, Whole: true}
	owners := directory.Members{Relation: directory.Owner, Whole: true}
	for _, a := range e.attributes {
		r, err := s.role(a.name)
		if err != nil {
			return fmt.Errorf("entry %q: %w", e.dn, err)
		}
		if r.id && len(a.values) == 1 {
			o.ID = s.ids.id(a.values[0])
		}
		if r.version && len(a.values) == 1 {
			version = a.values[0]
		}
		switch r.members {
		case 0:
		case byURL:
			s.urls = slices.Clone(a.values)
		default:
			members.Add = s.references(members.Add, a, r.members, problem)
		}
		if r.owners {
			owners.Add = s.references(owners.Add, a, byDN, problem)
		}
		if r.manager {
			if refs := s.references(nil, a, byDN, problem); len(refs) > 0 {
				o.Attributes[directory.AttrManager] = []string{string(slices.Min(refs))}
			}
		}
		if r.disabled != "" && marks(a, r.disabled) {
			enabled = false
		}
		if r.guest != "" && marks(a, r.guest) {
			guest = true
		}
		if r.expires && len(a.values) > 0 {
			switch end, err := accountEnd(a.values[0]); {
			case err != nil:
				spoilt = true
				problem(a, fmt.Sprintf("%v; the account stays as it was", err))
			case !end.IsZero():
				o.Attributes[directory.AttrExpires] = []string{end.Format(time.RFC3339Nano)}
			}
		}
		if len(r.first) == 0 && len(r.all) == 0 {
			continue
		}
		values := s.texts(a, problem)
		if len(values) == 0 {
			continue
		}
		for _, name := range r.first {
			if before := o.Attributes[name]; before == nil || values[0] < before[0] {
				o.Attributes[name] = values[:1:1]
			}
		}
		for _, name := range r.all {
			all := values
			if before := o.Attributes[name]; before != nil { // the same attribute, with other options
				all = slices.Concat(before, values)
				slices.Sort(all)
			}
			o.Attributes[name] = all
		}
	}
	if o.ID == "" {
		return s.ids.missing(e.dn)
	}
	for i := problems; i < len(page.Problems); i++ {
		page.Problems[i].Object = o.ID
	}
	if spoilt { // Rule SRC-10
		return nil
	}
	if s.kind == directory.KindGroup {
		o.Attributes[directory.AttrGroupKind] = []string{"security"}
		members.Group, owners.Group = o.ID, o.ID
		page.Members = append(page.Members, members, owners)
	} else {
		if s.tellsEnabled {
			o.Attributes[directory.AttrEnabled] = []string{strconv.FormatBool(enabled)}
		}
		if guest {
			o.Attributes[directory.AttrUserType] = []string{"Guest"}
		}
	}
	if version != "" {
		o.Attributes[directory.AttrMark] = []string{string(directory.NewMark(version, o, members, owners))}
	}
	page.Upserts = append(page.Upserts, directory.Upsert{Object: o})
	return nil
}

// marks tells whether an attribute has the value that marks an account.
func marks(a attribute, value string) bool {
	return value == anyValue && len(a.values) > 0 ||
		slices.ContainsFunc(a.values, func(v string) bool { return strings.EqualFold(v, value) })
}

// accountEnd reads when an account ends; the zero time: it does not.
func accountEnd(value string) (time.Time, error) {
	if strings.HasSuffix(value, "Z") {
		end, err := time.Parse(generalizedTime, value) // with a fraction of a second, too
		if err != nil {
			return end, fmt.Errorf("%q is no time, such as 20261231235959Z", value)
		}
		return end, nil
	}
	const lastDay = 2932896 // 9999-12-31
	switch day, err := strconv.Atoi(value); {
	case err != nil || day > lastDay || day < -1:
		return time.Time{}, fmt.Errorf("%q is neither a day, counted from 1970-01-01, nor a time, such as 20261231235959Z", value)
	case day == 0: // to some programs that is the first day, to others no end (shadow(5))
		return time.Time{}, errors.New("0 is taken for no end by some and for one long ago by others; write -1 or the day")
	case day == -1:
		return time.Time{}, nil
	default:
		return time.Unix(int64(day)*86400, 0).UTC(), nil
	}
}

// texts returns the values that are text, sorted: LDAP gives them in no order.
func (s *shape) texts(a attribute, problem func(attribute, string)) []string {
	if cap(s.slots)-len(s.slots) < len(a.values) {
		s.slots = make([]string, 0, max(1024, len(a.values)))
	}
	from := len(s.slots)
	for _, v := range a.values {
		if !utf8.ValidString(v) || strings.IndexByte(v, 0) >= 0 {
			problem(a, "a value is not text in UTF-8 and was left out; mend it in the directory, or do not name the attribute in rules")
			continue
		}
		s.slots = append(s.slots, v)
	}
	values := s.slots[from:len(s.slots):len(s.slots)]
	if len(values) > 1 {
		slices.Sort(values)
	}
	return values
}

// references reads the values of an attribute that names other entries. All of
// them share one piece of memory.
func (s *shape) references(into []directory.Ref, a attribute, naming byte, problem func(attribute, string)) []directory.Ref {
	s.refs, s.ends = s.refs[:0], s.ends[:0]
	for _, v := range a.values {
		switch {
		case !utf8.ValidString(v):
			problem(a, "a value is not text in UTF-8 and was left out")
			continue
		case naming == byUID:
			s.refs = append(s.refs, directory.ByUserName(v)...)
		default:
			if naming == byDNAndID {
				v = withoutBits(v)
			}
			normal, err := NormalDN(v)
			if err != nil || normal == "" {
				problem(a, fmt.Sprintf("%q is not a DN and was left out", v))
				continue
			}
			s.refs = append(append(s.refs, directory.ByDN("")...), normal...)
		}
		s.ends = append(s.ends, len(s.refs))
	}
	all, from := string(s.refs), 0
	into = slices.Grow(into, len(s.ends))
	for _, end := range s.ends {
		into = append(into, directory.Ref(all[from:end]))
		from = end
	}
	return into
}

// withoutBits cuts off the bit string that may stand behind a DN: #'0101'B (RFC
// 4517, 3.3.21).
func withoutBits(v string) string {
	at := strings.LastIndex(v, "#'")
	if at < 0 || !strings.HasSuffix(v, "'B") || at+2 > len(v)-2 || strings.Trim(v[at+2:len(v)-2], "01") != "" {
		return v
	}
	return v[:at]
}
