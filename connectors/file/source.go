package file

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/ambit-iam/ambit/connectors/ldap"
	"github.com/ambit-iam/ambit/directory"
)

// Source reads files.
type Source struct {
	config Config
}

// New makes a source of a valid configuration; it reads nothing. Relative paths
// are made absolute by file.
func New(c Config, file func(string) string) (*Source, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	for _, paths := range []*[]string{&c.Users.Paths, &c.Groups.Paths, &c.Members.Paths} {
		*paths = slices.Clone(*paths)
		for i, p := range *paths {
			(*paths)[i] = file(p)
		}
	}
	return &Source{config: c}, nil
}

// cursor is what was read last: a configuration, and the contents of its files
// (Rule SRC-2).
type cursor struct {
	Identity string `json:"identity"`
	Content  string `json:"content"`
}

func (s *Source) identity(attributes []string) string {
	b, err := json.Marshal(struct {
		Config     Config
		Attributes []string
	}{s.config, attributes})
	if err != nil {
		panic("internal error: identity of a file source: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// files are the open files of one read, each once.
type files struct {
	list  []*whole
	known map[string]*whole
}

func (f *files) close() error {
	var errs []error
	for _, w := range f.list {
		errs = append(errs, w.file.Close())
	}
	return errors.Join(errs...)
}

// open opens all files before one is taken for true.
func (s *Source) open(ctx context.Context) (*files, error) {
	f := &files{known: map[string]*whole{}}
	for _, path := range slices.Concat(s.config.Users.Paths, s.config.Groups.Paths, s.config.Members.Paths) {
		if f.known[path] != nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, errors.Join(fmt.Errorf("%w: %w", directory.ErrIncomplete, err), f.close())
		}
		w, err := open(path, s.config.End)
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.known[path] = w
		f.list = append(f.list, w)
	}
	return f, nil
}

// Read reads all files. Files that are as they were at the last read bring a delta
// round without a change.
func (s *Source) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) (err error) {
	now := cursor{Identity: s.identity(start.Attributes)}
	var last cursor
	if start.Cursor != nil {
		if err := json.Unmarshal(start.Cursor, &last); err != nil || last.Identity != now.Identity {
			return fmt.Errorf("the source's configuration or the attributes that rules name have changed: %w", directory.ErrCursorExpired)
		}
	}
	f, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	h := sha256.New()
	for _, w := range f.list {
		_, _ = h.Write(w.hash[:]) // a hash takes everything
	}
	now.Content = hex.EncodeToString(h.Sum(nil))
	next, err := json.Marshal(now)
	if err != nil {
		return err
	}
	if now == last {
		if err := begin(directory.Delta); err != nil {
			return err
		}
		return yield(directory.Page{Cursor: next, Complete: true})
	}
	if err := begin(directory.Full); err != nil {
		return err
	}
	r := &round{source: s, ctx: ctx, attributes: start.Attributes, yield: yield, seen: map[directory.ObjectID]string{}}
	if err := r.read(f); err != nil {
		return err
	}
	if err := r.flush(); err != nil {
		return err
	}
	return yield(directory.Page{Cursor: next, Complete: true})
}

// Probe reads all files and counts what is in them.
func (s *Source) Probe(ctx context.Context) ([]string, error) {
	users, groups, edges := 0, 0, 0
	var problems []string
	err := s.Read(ctx, directory.Start{}, func(directory.Mode) error { return nil }, func(p directory.Page) error {
		for _, u := range p.Upserts {
			if u.Kind == directory.KindUser {
				users++
			} else {
				groups++
			}
		}
		for _, m := range p.Members {
			edges += len(m.Add)
		}
		for _, problem := range p.Problems {
			problems = append(problems, fmt.Sprintf("%s: %s", problem.Object, problem.Text))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	const few = 10
	facts := []string{fmt.Sprintf("%d users, %d groups and %d memberships and ownerships", users, groups, edges)}
	if len(problems) > few {
		problems = append(problems[:few], fmt.Sprintf("and %d more problems", len(problems)-few))
	}
	return append(facts, problems...), nil
}

// The sizes of a page.
const (
	pageObjects = 1_000
	pageEdges   = 50_000
)

// round is one read in progress.
type round struct {
	source     *Source
	ctx        context.Context
	attributes []string
	yield      func(directory.Page) error
	seen       map[directory.ObjectID]string // where an id stands
	page       directory.Page
	edges      int
	own        error // of the caller, which is returned as it is
}

func (r *round) read(f *files) error {
	c := r.source.config
	for _, part := range []struct {
		paths  []string
		key    string
		needed []string
		take   func(*whole, record) error
	}{
		{c.Users.Paths, "users", []string{c.Users.ID, c.Users.UserName}, r.user},
		{c.Groups.Paths, "groups", []string{c.Groups.ID, c.Groups.Name}, r.group},
		{c.Members.Paths, "members", r.source.memberColumns(), r.member},
	} {
		for _, path := range part.paths {
			w := f.known[path]
			records := 0
			err := w.parse(func(b io.Reader) error {
				take := func(rec record) error {
					records++
					return part.take(w, rec)
				}
				switch c.Format {
				case LDIF:
					return parseLDIF(b, take)
				case CSV:
					comma, _ := utf8.DecodeRuneInString(c.Comma)
					return parseCSV(b, comma, part.needed, take)
				default:
					return parseJSON(b, part.key, w.lineAt, take)
				}
			})
			place := (*fault)(nil)
			switch {
			case r.own != nil:
				return r.own
			case errors.As(err, &place):
				return fmt.Errorf("%w: %s:%d: %s", directory.ErrIncomplete, path, place.line, place.problem)
			case err != nil:
				return fmt.Errorf("%w: %s: %w", directory.ErrIncomplete, path, err)
			case w.records >= 0 && records != w.records:
				return w.incomplete("its last line tells of %d records, and there are %d", w.records, records)
			}
		}
	}
	return nil
}

func (s *Source) memberColumns() []string {
	m := s.config.Members
	columns := []string{m.Group, m.Member}
	if m.Relation != "" {
		columns = append(columns, m.Relation)
	}
	return columns
}

// get returns an attribute's values. LDIF writes a name in any case, and with
// options.
func (r *round) get(rec record, name string) []string {
	if r.source.config.Format != LDIF {
		return rec.values[name]
	}
	return rec.values[strings.ToLower(name)]
}

func (r *round) first(rec record, name string) string {
	if v := r.get(rec, name); len(v) > 0 {
		return v[0]
	}
	return ""
}

// id reads a record's id. One that cannot be read would make the object look gone,
// so that it is the end of the read.
func (r *round) id(w *whole, rec record, name string) (directory.ObjectID, error) {
	values := r.get(rec, name)
	if len(values) != 1 || values[0] == "" {
		return "", at(rec.line, "want one %s, have %d", name, len(values))
	}
	id := values[0]
	if strings.EqualFold(name, "objectGUID") && len(id) == 16 {
		id = guid(id)
	}
	if strings.EqualFold(name, "entryUUID") {
		id = strings.ToLower(id)
	}
	if !isText(id) || len(id) > 512 {
		return "", at(rec.line, "%s is not a text of at most 512 bytes", name)
	}
	if where, twice := r.seen[directory.ObjectID(id)]; twice {
		return "", at(rec.line, "%s %q is there twice, first at %s", name, cut(id), where)
	}
	r.seen[directory.ObjectID(id)] = fmt.Sprintf("%s:%d", w.path, rec.line)
	return directory.ObjectID(id), nil
}

// guid writes Active Directory's sixteen bytes as people do.
func guid(b string) string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", []byte{b[3], b[2], b[1], b[0]}, []byte{b[5], b[4]}, []byte{b[7], b[6]}, b[8:10], b[10:16])
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// isOf tells whether an LDIF entry is of one of the classes.
func (r *round) isOf(rec record, classes []string) bool {
	return slices.ContainsFunc(r.get(rec, "objectClass"), func(have string) bool {
		return slices.ContainsFunc(classes, func(c string) bool { return strings.EqualFold(c, have) })
	})
}

func (r *round) object(w *whole, rec record, kind directory.Kind, id string) (directory.Object, error) {
	o := directory.Object{Kind: kind, Attributes: map[string][]string{}}
	var err error
	if o.ID, err = r.id(w, rec, id); err != nil {
		return o, err
	}
	if r.source.config.Format == LDIF {
		if o.DN, err = ldap.NormalDN(rec.dn); err != nil {
			return o, at(rec.line, "dn %q: %s", cut(rec.dn), err)
		}
	}
	for _, name := range r.attributes {
		if v := r.texts(o, rec, name); len(v) > 0 {
			o.Attributes[name] = v
		}
	}
	return o, nil
}

// texts returns the values that are text; others are told of and left out.
func (r *round) texts(o directory.Object, rec record, name string) []string {
	values := slices.DeleteFunc(slices.Clone(r.get(rec, name)), func(v string) bool {
		if isText(v) {
			return v == ""
		}
		r.problem(o, rec, name+": a value is not text in UTF-8 and was left out")
		return true
	})
	if r.source.config.Format == LDIF {
		slices.Sort(values) // LDAP gives them in no order
	}
	return values
}

func (r *round) problem(o directory.Object, rec record, text string) {
	r.page.Problems = append(r.page.Problems, directory.Problem{Object: o.ID, DN: o.DN, Text: fmt.Sprintf("line %d: %s", rec.line, text)})
}

// set fills in an attribute under the name that all sources share.
func (r *round) set(o directory.Object, rec record, shared, name string) {
	delete(o.Attributes, shared)
	if v := r.texts(o, rec, name); len(v) > 0 {
		o.Attributes[shared] = v[:1]
	}
}

func (r *round) user(w *whole, rec record) error {
	u := r.source.config.Users
	if r.source.config.Format == LDIF && !r.isOf(rec, u.Classes) {
		return nil
	}
	o, err := r.object(w, rec, directory.KindUser, u.ID)
	if err != nil {
		return err
	}
	r.set(o, rec, directory.AttrUserName, u.UserName)
	r.set(o, rec, directory.AttrDisplayName, u.DisplayName)
	r.set(o, rec, directory.AttrMail, u.Mail)
	delete(o.Attributes, directory.AttrManager)
	if refs := r.references(o, rec, u.Manager); len(refs) > 0 {
		o.Attributes[directory.AttrManager] = []string{string(slices.Min(refs))}
	}
	delete(o.Attributes, directory.AttrEnabled)
	if u.Disabled != "" {
		o.Attributes[directory.AttrEnabled] = []string{strconv.FormatBool(!r.marked(rec, u.Disabled))}
	}
	delete(o.Attributes, directory.AttrUserType)
	if u.Guest != "" && r.marked(rec, u.Guest) {
		o.Attributes[directory.AttrUserType] = []string{"Guest"}
	}
	return r.add(o)
}

// marked tells whether a record has what marks it: "name" or "name=value".
func (r *round) marked(rec record, mark string) bool {
	name, value, one := strings.Cut(mark, "=")
	return slices.ContainsFunc(r.get(rec, name), func(v string) bool { return !one && v != "" || one && strings.EqualFold(v, value) })
}

func (r *round) group(w *whole, rec record) error {
	g := r.source.config.Groups
	if r.source.config.Format == LDIF && !r.isOf(rec, g.Classes) {
		return nil
	}
	o, err := r.object(w, rec, directory.KindGroup, g.ID)
	if err != nil {
		return err
	}
	r.set(o, rec, directory.AttrDisplayName, g.Name)
	o.Attributes[directory.AttrGroupKind] = []string{"security"}
	if r.source.config.Format != CSV {
		for rel, name := range []string{directory.Member: g.Members, directory.Owner: g.Owners} {
			refs := r.references(o, rec, name)
			r.edges += len(refs)
			r.page.Members = append(r.page.Members, directory.Members{Group: o.ID, Relation: directory.Relation(rel), Whole: true, Add: refs})
		}
	}
	return r.add(o)
}

// references reads what names other objects: ids, in LDIF DNs, or sign-in names in
// memberUid.
func (r *round) references(o directory.Object, rec record, name string) []directory.Ref {
	var out []directory.Ref
	for _, v := range r.texts(o, rec, name) {
		switch {
		case r.source.config.Format != LDIF:
			out = append(out, directory.ByID(directory.ObjectID(v)))
		case strings.EqualFold(name, "memberUid"):
			out = append(out, directory.ByUserName(v))
		default:
			dn, err := ldap.NormalDN(v)
			if err != nil || dn == "" {
				r.problem(o, rec, fmt.Sprintf("%s: %q is not a DN and was left out", name, cut(v)))
				continue
			}
			out = append(out, directory.ByDN(dn))
		}
	}
	return out
}

func (r *round) member(_ *whole, rec record) error {
	m := r.source.config.Members
	group, member := r.first(rec, m.Group), r.first(rec, m.Member)
	if group == "" || member == "" || !isText(group) || !isText(member) {
		return at(rec.line, "want a %s and a %s", m.Group, m.Member)
	}
	edge := directory.Members{Group: directory.ObjectID(group), Add: []directory.Ref{directory.ByID(directory.ObjectID(member))}}
	if m.Relation != "" {
		if err := edge.Relation.UnmarshalText([]byte(strings.ToLower(r.first(rec, m.Relation)))); err != nil {
			return at(rec.line, "%s: want member or owner, have %q", m.Relation, cut(r.first(rec, m.Relation)))
		}
	}
	r.page.Members = append(r.page.Members, edge)
	r.edges++
	return r.full()
}

func (r *round) add(o directory.Object) error {
	r.page.Upserts = append(r.page.Upserts, directory.Upsert{Object: o})
	return r.full()
}

// full hands a page on that has grown large.
func (r *round) full() error {
	if len(r.page.Upserts) < pageObjects && r.edges < pageEdges {
		return nil
	}
	return r.flush()
}

func (r *round) flush() error {
	if err := r.ctx.Err(); err != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
	}
	page := r.page
	r.page, r.edges = directory.Page{}, 0
	if len(page.Upserts) == 0 && len(page.Members) == 0 && len(page.Problems) == 0 {
		return nil
	}
	r.own = r.yield(page)
	if r.own == nil && r.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", directory.ErrIncomplete, r.ctx.Err())
	}
	return r.own
}
