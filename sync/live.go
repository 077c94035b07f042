package dirsync

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ambit-iam/ambit/directory"
)

// LiveQuestion names the user or group that a source is asked about.
type LiveQuestion struct {
	Source directory.SourceID
	Kind   directory.Kind // user or group
	// Name is the object's id, its DN, a user's sign-in name or mail address, or the
	// name that people read.
	Name string
}

// LiveAnswer is how what the source says now of one user's groups, or of one
// group's members, compares with what is mirrored.
type LiveAnswer struct {
	Source directory.SourceID `json:"source"`
	Object LiveObject         `json:"object"`
	Kind   directory.Kind     `json:"kind"`
	At     time.Time          `json:"at"`
	// Agree are the groups of the user, or the members of the group, that both have.
	Agree int `json:"agree"`
	// Untold are mirrored groups of the user that the source does not tell of in this
	// way, such as those for mail alone.
	Untold int `json:"untold,omitempty"`
	// Gone: the source has no such user or group any more.
	Gone bool `json:"gone,omitempty"`
	// Missing only the source has, Extra only the mirror, each sorted by name.
	Missing []LiveObject `json:"missing,omitempty"`
	Extra   []LiveObject `json:"extra,omitempty"`
}

// LiveObject is a user or group, as far as it is known.
type LiveObject struct {
	ID   directory.ObjectID `json:"id,omitempty"`
	Name string             `json:"name"` // what people call it, else what the source does
}

func (o LiveObject) String() string {
	if o.ID == "" || string(o.ID) == o.Name {
		return o.Name
	}
	return fmt.Sprintf("%s (%s)", o.Name, o.ID)
}

// Differs tells whether the source says anything else than what is mirrored.
func (a LiveAnswer) Differs() bool { return a.Gone || len(a.Missing) > 0 || len(a.Extra) > 0 }

// Errors of Live that a caller may branch on.
var (
	// ErrNotLive: the source cannot be asked about one object.
	ErrNotLive = errors.New("the source cannot be asked about one user or group; ambit verify compares all of it")
	// ErrNotMirrored: nothing by the name is mirrored.
	ErrNotMirrored = errors.New("is not mirrored")
	// ErrAmbiguous: several objects have the name.
	ErrAmbiguous = errors.New("is the name of several; use the id")
)

// Live asks a source about one user or group now and compares the answer with what
// is mirrored. Nothing is changed by it, but that the source is read by change, as
// always, where the two differ at first: what has changed only in between is no
// difference.
func (s *Syncer) Live(ctx context.Context, q LiveQuestion) (LiveAnswer, error) {
	sources, err := s.chosen(ctx, []directory.SourceID{q.Source})
	if err != nil {
		return LiveAnswer{}, err
	}
	c := sources[0]
	checker, ok := c.Reader.(directory.LiveChecker)
	if !ok {
		return LiveAnswer{}, fmt.Errorf("source %s: %w", c.ID, ErrNotLive)
	}
	k := liveCheck{syncer: s, question: q}
	if err := k.with(func(f *facts) error { return k.find(f) }); err != nil {
		return LiveAnswer{}, err
	}
	ask := checker.LiveGroups
	if q.Kind == directory.KindGroup {
		ask = checker.LiveMembers
	}
	for {
		said, err := ask(ctx, k.id)
		switch {
		case errors.Is(err, directory.ErrNoObject):
			k.gone++
		case err != nil:
			return LiveAnswer{}, fmt.Errorf("ask source %s: %w", c.ID, err)
		default:
			k.said = append(k.said, said)
		}
		answer, err := k.compare()
		if err != nil || !answer.Differs() || k.gone+len(k.said) == 2 {
			return answer, err
		}
		// What has changed since the last round this one tells, and what changes during
		// it the second answer.
		if r := s.round(ctx, c, nil); r.Err != nil {
			return LiveAnswer{}, r.Err
		}
	}
}

// liveCheck is one check.
type liveCheck struct {
	syncer   *Syncer
	question LiveQuestion
	id       directory.ObjectID
	name     string // as it was called at first
	said     []directory.Live
	gone     int // how often the source said that there is no such object
}

// with does something with the source's mirror while no round goes on.
func (k *liveCheck) with(do func(*facts) error) error {
	s := k.syncer
	defer s.reading.lock(k.question.Source)()
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.mirror.facts(k.question.Source)
	if f == nil {
		return ErrNotLeading
	}
	return do(f)
}

// find finds whom the question is about.
func (k *liveCheck) find(f *facts) error {
	q := k.question
	found := map[refNo]struct{}{}
	take := func(n refNo) {
		if n != 0 && f.refs[n].object != nil && f.refs[n].object.kind == q.Kind {
			found[n] = struct{}{}
		}
	}
	take(f.lookupID(directory.ObjectID(q.Name)))
	take(f.target(f.lookup(directory.ByDN(strings.ToLower(q.Name)))))
	if q.Kind == directory.KindUser {
		take(f.target(f.lookup(directory.ByUserName(q.Name))))
	}
	if len(found) == 0 {
		for _, n := range f.list(q.Kind) {
			o := f.refs[n].object
			for _, a := range [...]string{directory.AttrUserName, directory.AttrMail, directory.AttrDisplayName} {
				if strings.EqualFold(f.names.first(o.attributes, a), q.Name) {
					take(n)
				}
			}
		}
	}
	for n := range found {
		o := f.live(n)
		k.id, k.name = o.ID, o.Name
	}
	switch len(found) {
	case 1:
		return nil
	case 0:
		return fmt.Errorf("%s %q of source %s %w", q.Kind, q.Name, q.Source, ErrNotMirrored)
	}
	return fmt.Errorf("%s %q of source %s %w", q.Kind, q.Name, q.Source, ErrAmbiguous)
}

// compare compares what was said with what is mirrored: what each answer has
// otherwise.
func (k *liveCheck) compare() (LiveAnswer, error) {
	q := k.question
	a := LiveAnswer{Source: q.Source, Kind: q.Kind, Object: LiveObject{k.id, k.name}, At: k.syncer.now().UTC(), Gone: len(k.said) == 0}
	err := k.with(func(f *facts) error {
		n := f.lookupID(k.id)
		switch {
		case f.refs[n].object == nil:
			return fmt.Errorf("%s %q of source %s %w any more", q.Kind, q.Name, q.Source, ErrNotMirrored)
		case a.Gone:
			return nil
		case k.gone > 0:
			return fmt.Errorf("%s %q of source %s went while it was asked about; ask again", q.Kind, q.Name, q.Source)
		}
		var mirrored map[refNo]refNo
		if q.Kind == directory.KindUser {
			mirrored, a.Untold = f.groupsOf(n, k.said[0].Untold)
		} else {
			mirrored = f.memberNames(n)
		}
		objects := map[refNo]struct{}{}
		for _, n := range mirrored {
			objects[n] = struct{}{}
		}
		missing, extra := map[LiveObject]int{}, map[LiveObject]int{}
		for _, said := range k.said {
			names := map[refNo]struct{}{}
			for _, ref := range said.Refs {
				name := f.lookup(ref)
				n := f.target(name)
				names[name], names[n] = struct{}{}, struct{}{}
				_, sameName := mirrored[name]
				_, sameObject := objects[n]
				switch {
				case name == 0:
					missing[LiveObject{Name: string(ref)}]++
				case !sameName && (n == 0 || !sameObject):
					missing[f.live(cmp.Or(n, name))]++
				}
			}
			for name, n := range mirrored {
				_, sameName := names[name]
				_, sameObject := names[n]
				if !sameName && (n == 0 || !sameObject) {
					extra[f.live(cmp.Or(n, name))]++
				}
			}
		}
		a.Missing, a.Extra = always(missing, len(k.said)), always(extra, len(k.said))
		a.Agree = len(mirrored) - len(a.Extra)
		return nil
	})
	return a, err
}

// always lists what was counted so often.
func always(counts map[LiveObject]int, times int) []LiveObject {
	var list []LiveObject
	for o, n := range counts {
		if n == times {
			list = append(list, o)
		}
	}
	slices.SortFunc(list, func(a, b LiveObject) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list
}

// live is a reference, by what people call whom it means, if it means somebody.
func (f *facts) live(n refNo) LiveObject {
	if f.refs[n].object == nil {
		return LiveObject{Name: string(f.refs[n].name)}
	}
	o, _ := f.object(n)
	return LiveObject{o.ID, cmp.Or(o.Get(directory.AttrDisplayName), o.Get(directory.AttrUserName), o.DN, string(o.ID))}
}

// memberNames are the direct members of a group: how they are named, and whom that
// means; 0 for nobody.
func (f *facts) memberNames(group refNo) map[refNo]refNo {
	names := map[refNo]refNo{}
	if l := f.refs[group].links; l != nil {
		for _, e := range l.out[directory.Member] {
			names[f.edges[e].far] = f.far(e)
		}
	}
	return names
}

// groupsOf are the groups that a user is in, directly or by way of others (Rule
// SRC-7), but for those that untold leaves out, which are counted.
func (f *facts) groupsOf(user refNo, untold func(directory.Object) bool) (groups map[refNo]refNo, left int) {
	groups = map[refNo]refNo{}
	seen := map[refNo]struct{}{user: {}}
	for next := []refNo{user}; len(next) > 0; next = next[1:] {
		for _, g := range f.memberOf(next[0], directory.Member) {
			if _, ok := seen[g]; ok {
				continue
			}
			seen[g] = struct{}{}
			if untold != nil {
				if o, _ := f.object(g); untold(o) {
					left++
					continue
				}
			}
			groups[g] = g
			next = append(next, g)
		}
	}
	return groups, left
}
