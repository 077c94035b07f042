package ldap

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

const (
	// listEvery is how often all ids are listed although a log tells what has
	// changed: for what is missing in it, such as a change by a tool that writes past
	// the server, or while its clock was wrong.
	listEvery = time.Hour
	// hintPages is of how many entries a log may tell, in pages. Beyond that a list is
	// cheaper.
	hintPages = 10
	// maxRenames is how many renames a cursor keeps. Others are listed for once more.
	maxRenames = 1000
	// numbersBack is how many numbered records are read again: one may show before one
	// that was numbered earlier, of a change that took longer.
	numbersBack = 100
)

// changeLog is a log in which a server writes what has changed. It is a hint and
// never the data: of whatever it names, the entries themselves are read. What is gone
// is told by its id and believed once nothing with that id is found any more
// (Rule LDAP-25).
type changeLog struct {
	base   string // where it is, unless the configuration says otherwise
	names  idForm // by what it names entries, and is named by
	writes string // the filter for what counts
	hint   string // what to see to where it tells nothing
	// The attributes of its records: when, by what operation and on which entry.
	at, operation, entry string
	// last, if set, is the root entry's attribute with the newest record's number: at is
	// such a number, and else a time.
	last string
}

// where reads where a record stands: a time is in microseconds.
func (l changeLog) where(at string) (int64, error) {
	if l.last != "" {
		return strconv.ParseInt(at, 10, 64)
	}
	t, err := time.Parse(generalizedTime, at)
	return t.UnixMicro(), err
}

// since is the filter for what is there or behind it.
func (l changeLog) since(where int64) string {
	value := strconv.FormatInt(where, 10)
	if l.last == "" {
		value = time.UnixMicro(where).UTC().Format(generalizedTime)
	}
	return "(&" + l.writes + "(" + l.at + ">=" + value + "))"
}

// back is how far before a record the next read begins.
func (l changeLog) back(where int64, began time.Time) int64 {
	if l.last != "" {
		return max(where-numbersBack, 0)
	}
	// A clock of the server that was ahead and is set right writes again from now on.
	return min(where, began.UnixMicro()) - overlap.Microseconds()
}

// start is from where a log is read of which nothing is known yet. newest is the newest
// change that the directory itself tells of.
func (l changeLog) start(c *connection, newest time.Time) (int64, error) {
	if l.last == "" {
		return newest.Add(-overlap).UnixMicro(), nil
	}
	number, err := l.newest(c)
	return l.back(number, time.Time{}), err
}

// newest is the newest record's number, as the server's root entry tells.
func (l changeLog) newest(c *connection) (int64, error) {
	root, err := c.root(l.last)
	if err != nil {
		return 0, err
	}
	number, err := strconv.ParseInt(strings.Join(root[strings.ToLower(l.last)], ""), 10, 64)
	if err != nil {
		return 0, l.unfit("the server's root entry does not tell " + l.last)
	}
	return number, nil
}

func (l changeLog) unfit(why string) error {
	return unfitLog(fmt.Sprintf("the log %s cannot be used (%s); %s", l.base, why, l.hint))
}

// changeLogs are by what the configuration calls them.
var changeLogs = map[string]changeLog{
	accessLog: {
		base: "cn=accesslog", names: entryUUID, writes: "(objectClass=auditWriteObject)(reqResult=0)",
		at: "reqStart", operation: "reqType", entry: "reqEntryUUID",
		hint: "see whether its base is right (changes_log), the overlay accesslog of OpenLDAP 2.5 or later writes it (logops writes), and the account that Ambit binds as may read all of it, without limits",
	},
	retroLog: {
		base: "cn=changelog", names: nsUniqueID, writes: "(objectClass=changeLogEntry)",
		at: "changeNumber", operation: "changeType", entry: "targetUniqueId", last: "lastChangeNumber",
		hint: "see whether its base is right (changes_log), the Retro Changelog Plugin writes it (with nsslapd-attribute: nsuniqueid:targetUniqueId), and the account that Ambit binds as may read all of it, without limits",
	},
}

// logged tells whether a log of changes is configured, and which.
func (c Config) logged() (changeLog, bool) {
	l, ok := changeLogs[c.Changes]
	if c.ChangesLog != "" {
		l.base = c.ChangesLog
	}
	return l, ok
}

// position is up to where a log was read.
type position struct {
	// Anchor is the newest record, which must still be there: else the log was trimmed
	// beyond it, or is another's, and what it told in between is not known.
	Anchor string `json:"anchor"`
	// Since is from where on the log is read next, overlapping.
	Since int64 `json:"since"`
	// Listed is when all ids were listed last.
	Listed time.Time `json:"listed"`
	// Renames are the records since then of entries that got other names, for which all
	// ids were listed.
	Renames []string `json:"renames,omitempty"`
}

// news is what a log told.
type news struct {
	changed map[directory.ObjectID]struct{}
	next    *position // nil: there is no record to go on from
	list    bool      // all ids are to be listed
	problem string    // the log cannot be used
}

// hear reads what a log tells since the last round. What it leaves unclear is found by
// a list of all ids; an error is one of the connection.
func (l changeLog) hear(c *connection, last *position, newest, began time.Time) (news, error) {
	n := news{changed: map[directory.ObjectID]struct{}{}, next: &position{Listed: began}}
	var before position
	var err error
	if last != nil {
		before, n.next.Listed = *last, last.Listed
	} else {
		before.Since, err = l.start(c, newest)
	}
	newestAt := int64(-1)
	anchored, renamed, most := false, false, hintPages*int(c.pageSize)
	if err == nil {
		err = l.records(c, before.Since, func(r record) {
			anchored = anchored || r.key == before.Anchor
			if r.at > newestAt {
				newestAt, n.next.Anchor = r.at, r.key
			}
			if r.renames {
				renamed = renamed || !slices.Contains(before.Renames, r.key)
				if len(n.next.Renames) < maxRenames {
					n.next.Renames = append(n.next.Renames, r.key)
				}
			}
			if len(n.changed) <= most {
				n.changed[r.id] = struct{}{}
			}
		})
	}
	switch unfit, ok := errors.AsType[unfitLog](err); {
	case ok:
		n.problem = unfit.Error() + "; until then each round lists all ids"
	case err != nil:
		return n, err
	}
	age := began.Sub(n.next.Listed)
	n.list = n.problem != "" || !anchored || renamed || len(n.changed) > most || age < 0 || age > listEvery
	if n.list {
		n.next.Listed = began
	}
	n.next.Since = l.back(newestAt, began)
	if n.problem != "" || n.next.Anchor == "" {
		n.next = nil
	}
	return n, nil
}

// record is of one change.
type record struct {
	key     string
	at      int64
	id      directory.ObjectID
	renames bool
}

// unfitLog is why a log cannot be used.
type unfitLog string

func (u unfitLog) Error() string { return string(u) }

// records reads those from somewhere on. A log that cannot be used is an unfitLog, after
// which the connection is as good as before.
func (l changeLog) records(c *connection, since int64, take func(record)) error {
	var e entry
	odd, none := "", true
	err := c.pagedIn(ldap.ScopeSingleLevel, l.base, l.since(since), []string{l.at, l.operation, l.entry, string(l.names)}, nil, func(message string) error {
		if err := e.read(message); err != nil {
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		}
		none = false
		r := record{id: idForm(l.entry).of(&e)}
		var at, operation string
		for _, a := range e.attributes {
			switch {
			case len(a.values) != 1:
			case strings.EqualFold(a.name, l.at):
				at = a.values[0]
			case strings.EqualFold(a.name, l.operation):
				operation = a.values[0]
			}
		}
		var err error
		if r.at, err = l.where(at); err != nil || operation == "" || r.id == "" {
			odd = fmt.Sprintf("%s does not show %s, %s and %s", e.dn, l.at, l.operation, l.entry)
			return nil
		}
		r.renames = operation == "modrdn"
		// A log that began anew, or another server's, has other ids.
		r.key = strings.Join([]string{at, operation, string(r.id), string(l.names.of(&e))}, " ")
		take(r)
		return nil
	}, func() error { return nil })
	if result, ok := errors.AsType[*ldap.Error](err); ok && result.ResultCode < ldap.ErrorNetwork {
		odd, err = result.Error(), nil
	}
	if err == nil && none && l.last != "" {
		// To who may not read it, it is as good as empty.
		var newest int64
		if newest, err = l.newest(c); newest > 0 && newest >= since {
			odd = fmt.Sprintf("it shows nothing, and its newest record is number %d", newest)
		}
	}
	if err == nil && odd != "" {
		err = l.unfit(odd)
	}
	return err
}

// probe tells whether the log can be used.
func (l changeLog) probe(c *connection, now time.Time) (fact string, err error) {
	since, err := l.start(c, now.Add(overlap-time.Hour))
	count := 0
	if err == nil {
		err = l.records(c, since, func(record) { count++ })
	}
	if err != nil {
		return "", err
	}
	of := "within the last hour"
	if l.last != "" {
		of = fmt.Sprintf("among the last %d", numbersBack+1)
	}
	fact = fmt.Sprintf("the log %s tells of %d changes %s", l.base, count, of)
	if count == 0 {
		fact += "; if there were any, " + l.hint
	}
	return fact, nil
}

// hinted reads the entries that a log named and that the round has not seen anyhow,
// and hands on which of them are gone, or of no interest any more. The parts see to
// it that seen has what is read.
func (s *Source) hinted(r *round, parts []part, changed, seen map[directory.ObjectID]struct{}) error {
	maps.DeleteFunc(changed, func(id directory.ObjectID, _ struct{}) bool {
		_, ok := seen[id]
		return ok
	})
	for some := range slices.Chunk(slices.Sorted(maps.Keys(changed)), again) {
		var any strings.Builder
		for _, id := range some {
			any.WriteString("(" + s.config.UniqueID + "=" + ldap.EscapeFilter(string(id)) + ")")
		}
		for _, p := range parts {
			if err := r.read(p, "(&"+p.filter+"(|"+any.String()+"))"); err != nil {
				return p.of(err)
			}
		}
		if s.config.dynamic() { // which have a search of their own
			groups, err := s.find(r.connection, s.config.Groups.Base, "(&"+s.config.Groups.Filter+isDynamic+"(|"+any.String()+"))", s.config.UniqueID)
			if err != nil {
				return err
			}
			for _, g := range groups {
				seen[g.id] = struct{}{}
			}
		}
		gone := slices.DeleteFunc(slices.Clone(some), func(id directory.ObjectID) bool {
			_, ok := seen[id]
			return ok
		})
		if len(gone) > 0 {
			if err := r.hand(directory.Page{Removed: gone}); err != nil {
				return err
			}
		}
	}
	return nil
}
