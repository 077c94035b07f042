package scim

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ambit-iam/ambit/directory"
	"github.com/ambit-iam/ambit/store"
)

// Reader hands on what clients have pushed into a source: a full round of all that
// is in the store, after that what has changed. The store is the source here, and
// its lists are whole; nothing that a client does not send looks like something
// that it took away (Rule SCIM-8).
type Reader struct {
	source  directory.SourceID
	changes Store
	bell    *bell
	page    int // how many resources a page has
}

var _ directory.Watcher = (*Reader)(nil)

// Reader makes the reader of a source.
func (h *Handler) Reader(id directory.SourceID) *Reader {
	return &Reader{source: id, changes: h.store, bell: &h.bell, page: pageSize}
}

// cursor is where a reader goes on. Another list of attributes makes another
// cursor (Rule SRC-2).
type cursor struct {
	Attributes string `json:"attributes"`
	Seq        int64  `json:"seq"`
}

// pageSize is how many resources a page has, but in tests.
const pageSize = 1000

// Read runs one round. Clients push while it goes on: each resource is read once,
// and what changes meanwhile comes in the next round.
func (r *Reader) Read(ctx context.Context, start directory.Start, begin func(directory.Mode) error, yield func(directory.Page) error) error {
	sum := sha256.Sum256([]byte(strings.Join(start.Attributes, "\x00")))
	at := cursor{Attributes: hex.EncodeToString(sum[:8])}
	if start.Cursor != nil {
		var last cursor
		if err := json.Unmarshal(start.Cursor, &last); err != nil || last.Attributes != at.Attributes {
			return fmt.Errorf("the attributes that rules name have changed: %w", directory.ErrCursorExpired)
		}
		at.Seq = last.Seq
	}
	next, mode := r.all(), directory.Full
	if start.Cursor != nil {
		next, mode = r.since(at.Seq), directory.Delta
	}
	for begun := false; ; begun = true {
		changes, err := next(ctx)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return fmt.Errorf("too much was pushed since: %w", directory.ErrCursorExpired)
		case err != nil:
			return fmt.Errorf("%w: %w", directory.ErrIncomplete, err)
		case changes.Seq == 0: // an empty store is not an empty directory
			return fmt.Errorf("no client has pushed anything yet; give it the URL and the token: %w", directory.ErrNothingYet)
		}
		if !begun {
			if err := begin(mode); err != nil {
				return err
			}
		}
		page := directory.Page{Removed: changes.Removed, Complete: !changes.More}
		for _, p := range changes.Put {
			if err := addTo(&page, p, start.Attributes); err != nil {
				return err
			}
		}
		if page.Complete {
			at.Seq = changes.Seq
			if page.Cursor, err = json.Marshal(at); err != nil {
				return err
			}
		}
		if err := yield(page); err != nil || page.Complete {
			return err
		}
	}
}

// all gives all that is in the store, page by page. The change up to which it tells
// is the newest when it began.
func (r *Reader) all() func(context.Context) (store.PushedChanges, error) {
	var after directory.ObjectID
	var seq int64
	return func(ctx context.Context) (store.PushedChanges, error) {
		page, err := r.changes.AllPushed(ctx, r.source, after, r.page)
		if n := len(page.Put); n > 0 {
			after = page.Put[n-1].ID
		}
		if seq == 0 {
			seq = page.Seq
		}
		page.Seq = seq
		return page, err
	}
}

// since gives what has changed, up to the newest change when it began.
func (r *Reader) since(after int64) func(context.Context) (store.PushedChanges, error) {
	var upto int64
	return func(ctx context.Context) (store.PushedChanges, error) {
		if upto == 0 {
			newest, err := r.changes.AllPushed(ctx, r.source, "", 0)
			if err != nil {
				return newest, err
			}
			upto = newest.Seq
		}
		page, err := r.changes.PushedSince(ctx, r.source, after, upto, r.page)
		after = page.Seq
		return page, err
	}
}

// Probe says how much was pushed.
func (r *Reader) Probe(ctx context.Context) ([]string, error) {
	changes, err := r.changes.AllPushed(ctx, r.source, "", 1)
	if err != nil {
		return nil, err
	}
	if changes.Seq == 0 {
		return []string{"no client has pushed anything yet"}, nil
	}
	return []string{"a client pushes to " + Root + string(r.source)}, nil
}

// How often a watch looks for what other processes were given, and the shortest
// time between two times that it calls: pushes come in many small pieces.
const (
	watchEvery = 10 * time.Second
	gather     = time.Second
)

// Watch tells when something was pushed.
func (r *Reader) Watch(ctx context.Context, start directory.Start, changed func()) error {
	var known cursor
	if err := json.Unmarshal(start.Cursor, &known); err != nil {
		return fmt.Errorf("watch from %q: %w", start.Cursor, directory.ErrCursorExpired)
	}
	for {
		rung := r.bell.wait(r.source)
		newest, err := r.changes.AllPushed(ctx, r.source, "", 0)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		pause := watchEvery
		if newest.Seq != known.Seq {
			known.Seq = newest.Seq
			changed()
			rung, pause = nil, gather
		}
		select {
		case <-ctx.Done():
			return nil
		case <-rung:
		case <-time.After(pause):
		}
	}
}

// bell tells readers in this process of pushes.
type bell struct {
	mu    sync.Mutex
	rings map[directory.SourceID]chan struct{} // closed by the next push
}

func (b *bell) wait(id directory.SourceID) <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.rings == nil {
		b.rings = map[directory.SourceID]chan struct{}{}
	}
	if b.rings[id] == nil {
		b.rings[id] = make(chan struct{})
	}
	return b.rings[id]
}

func (b *bell) ring(id directory.SourceID) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if c := b.rings[id]; c != nil {
		close(c)
		delete(b.rings, id)
	}
}

func addTo(page *directory.Page, p store.PushedGroup, attributes []string) error {
	doc, err := parse(p.Pushed)
	if err != nil {
		return err
	}
	o := directory.Object{ID: p.ID, Kind: p.Kind, Attributes: map[string][]string{}}
	for _, name := range attributes {
		if v := valuesOf(doc, name); len(v) > 0 {
			o.Attributes[name] = v
		}
	}
	set := func(name, value string) {
		if value != "" {
			o.Attributes[name] = []string{value}
		}
	}
	first := func(names ...string) string {
		for _, n := range names {
			if v := valuesOf(doc, n); len(v) > 0 && v[0] != "" {
				return v[0]
			}
		}
		return ""
	}
	if p.Kind == directory.KindGroup {
		set(directory.AttrDisplayName, first("displayName"))
		set(directory.AttrGroupKind, "security")
		m := directory.Members{Group: p.ID, Whole: true}
		for _, id := range p.Members {
			m.Add = append(m.Add, directory.ByID(id))
		}
		page.Members = append(page.Members, m)
	} else {
		set(directory.AttrUserName, first("userName"))
		set(directory.AttrDisplayName, nameOf(first))
		set(directory.AttrMail, mailOf(doc))
		set(directory.AttrEnabled, first("active"))
		set(directory.AttrUserType, first("userType"))
		if id := first("manager"); id != "" {
			set(directory.AttrManager, string(directory.ByID(directory.ObjectID(id))))
		}
	}
	page.Upserts = append(page.Upserts, directory.Upsert{Object: o})
	return nil
}

func nameOf(first func(...string) string) string {
	if s := first("displayName", "name.formatted"); s != "" {
		return s
	}
	if s := strings.TrimSpace(first("name.givenName") + " " + first("name.familyName")); s != "" {
		return s
	}
	return first("userName")
}

// mailOf is the primary mail address, else the one for work, else the first.
func mailOf(doc map[string]any) string {
	list, _ := lookup(doc, "emails").([]any)
	best, rank := "", -1
	for _, e := range list {
		m, _ := e.(map[string]any)
		value, _ := m["value"].(string)
		kind, _ := m["type"].(string)
		n := 0
		switch {
		case m["primary"] == true:
			n = 2
		case strings.EqualFold(kind, "work"):
			n = 1
		}
		if value != "" && n > rank {
			best, rank = value, n
		}
	}
	return best
}

// valuesOf lists an attribute's values as rules see them, in order: userName,
// name.givenName, emails (their values), department (of an extension, where the
// resource has no such attribute itself) or the extension's name, a colon and the
// attribute.
func valuesOf(doc map[string]any, name string) []string {
	at, err := parsePath(name)
	if err != nil || at.name == "" {
		return nil
	}
	found := at.values(doc, nil)
	if len(found) == 0 && at.urn == "" {
		for _, k := range slices.Sorted(extensions(doc)) {
			at.urn = k
			if found = at.values(doc, nil); len(found) > 0 {
				break
			}
		}
	}
	var out []string
	for _, v := range found {
		if m, ok := v.(map[string]any); ok {
			v = lookup(m, "value")
		}
		switch v := v.(type) {
		case string:
			out = append(out, v)
		case bool, json.Number:
			out = append(out, fmt.Sprint(v))
		}
	}
	return out
}

func extensions(doc map[string]any) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range doc {
			if strings.HasPrefix(strings.ToLower(k), "urn:") && !yield(k) {
				return
			}
		}
	}
}
