package ldap

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// guidText writes an objectGUID as Microsoft's tools do: the first three fields
// are little-endian (Rule AD-18).
func guidText(b string) (directory.ObjectID, bool) {
	if len(b) != 16 {
		return "", false
	}
	g := []byte(b)
	slices.Reverse(g[:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return uuidText(string(g)), true
}

// guidFilter is the assertion that an object has the id.
func guidFilter(id directory.ObjectID) string {
	g, err := hex.DecodeString(strings.ReplaceAll(string(id), "-", ""))
	if err != nil || len(g) != 16 {
		panic("internal error: not a GUID: " + string(id))
	}
	slices.Reverse(g[:4])
	slices.Reverse(g[4:6])
	slices.Reverse(g[6:8])
	return "(objectGUID=" + escapeBytes(string(g)) + ")"
}

// escapeBytes writes bytes that are no text into a filter (Rule LDAP-10).
func escapeBytes(v string) string {
	var b strings.Builder
	for i := range len(v) {
		fmt.Fprintf(&b, `\%02x`, v[i])
	}
	return b.String()
}

// sidText writes a security identifier (Rule AD-15).
func sidText(b string) (string, bool) {
	if len(b) < 8 || len(b) != 8+4*int(b[1]) {
		return "", false
	}
	var authority uint64
	for i := 2; i < 8; i++ {
		authority = authority<<8 | uint64(b[i])
	}
	text := fmt.Sprintf("S-%d-%d", b[0], authority)
	for i := 8; i < len(b); i += 4 {
		text += "-" + strconv.FormatUint(uint64(binary.LittleEndian.Uint32([]byte(b[i:i+4]))), 10)
	}
	return text, true
}

// extended is a DN as the control Extended DN gives it: <GUID=…>;<SID=…>;DN, with
// <TTL=…>, before it for a link that ends (Rules AD-10, AD-23).
type extended struct {
	id  directory.ObjectID
	dn  string
	ttl time.Duration // 0: it does not end
}

func parseExtended(v string) (extended, bool) {
	var x extended
	if rest, ok := strings.CutPrefix(v, "<TTL="); ok {
		seconds, rest, ok := strings.Cut(rest, ">,")
		n, err := strconv.ParseInt(seconds, 10, 32)
		if !ok || err != nil || n < 0 {
			return x, false
		}
		x.ttl, v = max(time.Duration(n)*time.Second, time.Second), rest
	}
	for strings.HasPrefix(v, "<") {
		part, rest, ok := strings.Cut(v[1:], ">")
		if !ok {
			return x, false
		}
		if guid, ok := strings.CutPrefix(part, "GUID="); ok {
			x.id = directory.ObjectID(strings.ToLower(guid))
		}
		v = strings.TrimPrefix(rest, ";")
	}
	x.dn = v
	_, err := hex.DecodeString(strings.ReplaceAll(string(x.id), "-", ""))
	return x, err == nil && len(x.id) == 36
}

// never is what accountExpires holds for an account that does not, as 0 does.
const never = 1<<63 - 1

// fileTime turns a count of 100 ns since 1601 into a time.
func fileTime(n int64) time.Time {
	const between1601And1970 = 11_644_473_600 // s
	return time.Unix(n/1e7-between1601And1970, n%1e7*100).UTC()
}

// The bits and values that tell what an account is.
const (
	accountDisabled = 0x2
	securityGroup   = 0x80000000
	normalAccount   = "805306368" // of sAMAccountType (Rule AD-20)
)

// adObject is what one answer says of one object. It need not be all: what has
// not changed DirSync leaves out (Rule AD-7).
type adObject struct {
	id      directory.ObjectID
	dn      string
	sid     string
	account string // sAMAccountType
	primary string // the number of the primary group
	// conflict: it lost its name to another in replication (Rule AD-24).
	conflict     bool
	distribution bool // a group for mail alone

	deleted  bool
	restored bool // isDeleted was taken away
	whole    bool // everything is said, since creation is
	renamed  bool

	attributes map[string][]string
	problems   []string
	spoilt     bool // by a value that matters and cannot be read (Rule SRC-10)
	edges      memberValues
	memberOf   []extended // of those that were asked for it
	owners     []directory.Ref
	manager    directory.Ref
	enabled    *bool
	guest      bool
	expires    string
}

// memberValues are the values of member, of which there are several kinds.
type memberValues struct {
	add, remove []extended
	// partial: the values from next on are still to be asked for (Rule AD-13).
	partial bool
	next    int
	// odd: it says something of member that this cannot be told from.
	odd bool
}

// adAttributes are asked for, of every object, in addition to the shape's.
var adAttributes = []string{"isDeleted", "name", "objectGUID", "objectSid", "parentGUID", "whenCreated"}

// adKindAttributes are those of one kind.
var adKindAttributes = map[directory.Kind][]string{
	directory.KindUser:  {"accountExpires", "primaryGroupID", "sAMAccountType", "userAccountControl"},
	directory.KindGroup: {"groupType"},
}

// binary are the attributes that are not text, with how they are written.
var binaryAttributes = map[string]func(string) (string, bool){
	"objectsid": sidText,
	"objectguid": func(v string) (string, bool) {
		id, ok := guidText(v)
		return string(id), ok
	},
}

// readAD reads an answer. incremental: ranges of member mean what has changed
// (Rule AD-8), not a part of the list.
func (s *shape) readAD(e *entry, incremental bool) (adObject, error) {
	var o adObject
	name, ok := parseExtended(e.dn)
	if !ok {
		return o, fmt.Errorf("%w: entry %q came without its GUID (control %s)", directory.ErrIncomplete, e.dn, controlExtendedDN)
	}
	var err error
	if o.dn, err = NormalDN(name.dn); err != nil {
		return o, fmt.Errorf("%w: entry %q: the name cannot be read: %w", directory.ErrIncomplete, e.dn, err)
	}
	o.conflict = strings.Contains(strings.ToLower(name.dn), `\0acnf:`) || strings.Contains(strings.ToLower(name.dn), "\ncnf:")
	o.id, o.attributes = name.id, make(map[string][]string, 8)
	problem := func(a attribute, what string) { o.problems = append(o.problems, a.name+": "+what) }
	for _, a := range e.attributes {
		base, options, _ := strings.Cut(strings.ToLower(a.name), ";")
		value := ""
		if len(a.values) > 0 {
			value = a.values[0]
		}
		number := func() (int64, bool) {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				o.spoilt = true
				problem(a, fmt.Sprintf("%q is not a number; the object stays as it was", value))
			}
			return n, err == nil
		}
		switch base {
		case "isdeleted":
			o.deleted = strings.EqualFold(value, "TRUE")
			o.restored = !o.deleted
		case "name", "parentguid":
			o.renamed = true
		case "whencreated":
			o.whole = true
		case "objectsid":
			o.sid, _ = sidText(value)
		case "samaccounttype":
			o.account = value
		case "primarygroupid":
			if _, ok := number(); ok {
				o.primary = value
			}
		case "grouptype":
			if n, ok := number(); ok {
				o.distribution = n&securityGroup == 0
			}
		case "useraccountcontrol":
			if n, ok := number(); ok {
				enabled := n&accountDisabled == 0
				o.enabled = &enabled
			}
		case "accountexpires":
			n, ok := number()
			switch at := fileTime(n); {
			case !ok || n == 0 || n == never || at.Year() > 9999:
			case n < 0:
				o.spoilt = true
				problem(a, fmt.Sprintf("%q is no time; the object stays as it was", value))
			default:
				o.expires = at.Format(time.RFC3339Nano)
			}
		case "memberof":
			if options != "" {
				return o, fmt.Errorf("entry %q is in too many groups to list them: %w", name.dn, directory.ErrCursorExpired)
			}
			for _, v := range a.values {
				x, ok := parseExtended(v)
				if !ok {
					return o, fmt.Errorf("%w: group %q came without its GUID", directory.ErrIncomplete, v)
				}
				o.memberOf = append(o.memberOf, x)
			}
			continue
		case "member":
			if err := o.edges.read(a, options, incremental); err != nil {
				return o, fmt.Errorf("entry %q: %w", name.dn, err)
			}
			continue
		}
		s.describe(&o, a, base, problem)
		if base == "name" { // DirSync tells of this and not of cn, which is the same (Rule AD-7)
			s.describe(&o, a, "cn", problem)
		}
	}
	return o, nil
}

// describe takes up what is asked for by the configuration and by rules.
func (s *shape) describe(o *adObject, a attribute, base string, problem func(attribute, string)) {
	r := s.roles[base]
	if r.manager || r.owners {
		for _, v := range a.values {
			x, ok := parseExtended(v)
			switch {
			case !ok:
				problem(a, fmt.Sprintf("%q is not a DN with its GUID and was left out", v))
			case r.manager:
				o.manager = directory.ByID(x.id)
			default:
				o.owners = append(o.owners, directory.ByID(x.id))
			}
		}
	}
	if r.guest != "" && marks(a, r.guest) {
		o.guest = true
	}
	if len(r.first) == 0 && len(r.all) == 0 {
		return
	}
	values := make([]string, 0, len(a.values))
	if write := binaryAttributes[base]; write != nil {
		for _, v := range a.values {
			if text, ok := write(v); ok {
				values = append(values, text)
			}
		}
	} else {
		values = append(values, s.texts(a, problem)...)
	}
	if len(values) == 0 {
		return
	}
	for _, name := range r.first {
		o.attributes[name] = values[:1:1]
	}
	for _, name := range r.all {
		o.attributes[name] = values
	}
}

// read takes up the values of member: all of them, a part that is named by its
// range, or, incrementally, those that were added and removed.
func (m *memberValues) read(a attribute, options string, incremental bool) error {
	into := &m.add
	_, span, ranged := strings.Cut(options, "range=")
	switch {
	case !ranged:
	case incremental && span == "1-1":
	case incremental && span == "0-0":
		into = &m.remove
	case incremental:
		m.odd = true
		return nil
	default:
		_, last, _ := strings.Cut(span, "-")
		if last == "*" {
			m.partial = false
			break
		}
		n, err := strconv.Atoi(last)
		if err != nil || n < 0 {
			return fmt.Errorf("%w: the range of %s cannot be read", directory.ErrIncomplete, a.name)
		}
		m.partial, m.next = true, n+1
	}
	for _, v := range a.values {
		x, ok := parseExtended(v)
		if !ok {
			return fmt.Errorf("%w: member %q came without its GUID", directory.ErrIncomplete, v)
		}
		*into = append(*into, x)
	}
	return nil
}

// object is the object's whole state.
func (o *adObject) object(kind directory.Kind) directory.Object {
	out := directory.Object{ID: o.id, Kind: kind, DN: o.dn, Attributes: o.attributes}
	switch kind {
	case directory.KindGroup:
		kind := "security"
		if o.distribution {
			kind = "distribution"
		}
		out.Attributes[directory.AttrGroupKind] = []string{kind}
	case directory.KindUser:
		if o.enabled != nil {
			out.Attributes[directory.AttrEnabled] = []string{strconv.FormatBool(*o.enabled)}
		}
		if o.guest {
			out.Attributes[directory.AttrUserType] = []string{"Guest"}
		}
		if o.expires != "" {
			out.Attributes[directory.AttrExpires] = []string{o.expires}
		}
		if o.manager != "" {
			out.Attributes[directory.AttrManager] = []string{string(o.manager)}
		}
	}
	return out
}
