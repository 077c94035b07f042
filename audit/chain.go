package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"time"

	"github.com/gowebpki/jcs"

	"github.com/ambit-iam/ambit/access"
)

// Chain is the end of the log: the event that the next one is joined to. The
// zero Chain is that of an empty log.
//
// An event's hash is the SHA-256, in hexadecimal, of the previous event's hash
// and the event as canonical JSON (RFC 8785) without its "hash". The first
// event's "prev" is empty.
type Chain struct {
	Seq      int64
	Revision access.Revision
	At       time.Time
	Hash     string
}

// Broken says which event does not join the one before, or which revision is not
// what its event says.
type Broken struct {
	Seq      int64
	Revision access.Revision
	Problem  string
}

func (b *Broken) Error() string {
	return fmt.Sprintf("event %d of revision %d: %s", b.Seq, b.Revision, b.Problem)
}

// Append joins an event: it fills Seq, Prev and Hash and brings Detail to
// canonical form. Revision, At and what the revision changed must be set.
func (c *Chain) Append(e *Event) error {
	detail, err := canonicalDetail(e.Detail)
	if err != nil {
		return fmt.Errorf("audit event %s: %w", e.Operation, err)
	}
	e.Detail, e.At = detail, access.Instant(e.At)
	e.Seq, e.Prev = c.Seq+1, c.Hash
	if e.Hash, err = e.digest(); err != nil {
		return fmt.Errorf("audit event %s: %w", e.Operation, err)
	}
	*c = Chain{Seq: e.Seq, Revision: e.Revision, At: e.At, Hash: e.Hash}
	return nil
}

// Verify takes one step along a stored log. Its error is a *Broken; the chain
// then stays where it was.
func (c *Chain) Verify(e Event) error {
	broken := func(format string, a ...any) error {
		return &Broken{e.Seq, e.Revision, fmt.Sprintf(format, a...)}
	}
	switch {
	case e.Seq != c.Seq+1:
		return &Broken{c.Seq + 1, e.Revision, fmt.Sprintf("it is missing; event %d follows event %d", e.Seq, c.Seq)}
	case e.Prev != c.Hash:
		return broken("it follows an event with hash %.12s…, but the one before has %.12s…", e.Prev, c.Hash)
	case e.Revision != c.Revision && e.Revision != c.Revision+1:
		return broken("the revision does not follow revision %d", c.Revision)
	case e.Revision == c.Revision && !e.At.Equal(c.At):
		return broken("its time is not that of its revision")
	case e.Revision != c.Revision && c.Revision > 0 && !e.At.After(c.At):
		return broken("its time is not after that of revision %d", c.Revision)
	}
	if detail, err := canonicalDetail(e.Detail); err != nil || !bytes.Equal(detail, e.Detail) {
		return broken("its detail was edited")
	}
	found, err := e.digest()
	if err != nil {
		return broken("it cannot be read: %v", err)
	}
	if found != e.Hash {
		return broken("it was edited: its hash is %.12s…, its content gives %.12s…", e.Hash, found)
	}
	*c = Chain{Seq: e.Seq, Revision: e.Revision, At: e.At, Hash: e.Hash}
	return nil
}

func canonicalDetail(detail json.RawMessage) (json.RawMessage, error) {
	if len(detail) == 0 {
		return nil, nil
	}
	out, err := jcs.Transform(detail)
	if err != nil {
		return nil, fmt.Errorf("detail: %w", err)
	}
	if out[0] != '{' {
		return nil, errors.New("detail: want one JSON object")
	}
	return out, nil
}

func (e Event) digest() (string, error) {
	src, err := json.Marshal(struct {
		Event
		Hash *string `json:"hash,omitempty"` // in place of Event's, and left out
	}{Event: e})
	if err != nil {
		return "", err
	}
	canonical, err := jcs.Transform(src)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	h.Write([]byte(e.Prev))
	h.Write(canonical)
	return hex.EncodeToString(h.Sum(nil)), nil
}

// Digest is the running SHA-256 over what one revision changed. For each object,
// in the order of kind, environment and key, it takes three lines: the kind, the
// object before and the object after as JSON, "-" where there was none.
//
// The JSON is encoding/json's of the object's struct, since bringing the 260,000
// objects of a first synchronisation to RFC 8785 would take as long as writing
// them. The same objects must therefore give the same JSON for ever: fields are
// only added, and are left out when they are zero.
type Digest struct {
	hash          hash.Hash
	count         int
	before, after []byte // for the next object's
}

// NewDigest makes a digest of no changes.
func NewDigest() *Digest { return &Digest{hash: sha256.New()} }

// Changed tells whether Add would take an object, without hashing it.
func Changed(before, after access.Object) (bool, error) {
	if before == nil || after == nil {
		return before != nil || after != nil, nil
	}
	was, err := appendLine(nil, before)
	if err != nil {
		return false, err
	}
	is, err := appendLine(nil, after)
	return !bytes.Equal(was, is), err
}

// Add takes one object, nil where it did not exist. It returns false, and takes
// nothing, if the two are the same.
func (d *Digest) Add(kind access.Kind, before, after access.Object) (_ bool, err error) {
	if d.before, err = appendLine(d.before[:0], before); err != nil {
		return false, err
	}
	if d.after, err = appendLine(d.after[:0], after); err != nil {
		return false, err
	}
	if bytes.Equal(d.before, d.after) {
		return false, nil
	}
	// Each line ends with a newline, and JSON has no other, so that no two lists of
	// changes give the same bytes.
	d.hash.Write([]byte(kind.String() + "\n"))
	d.hash.Write(d.before)
	d.hash.Write(d.after)
	d.count++
	return true, nil
}

func appendLine(b []byte, o access.Object) ([]byte, error) {
	if o == nil {
		return append(b, "-\n"...), nil
	}
	b, err := access.AppendJSON(b, o)
	return append(b, '\n'), err
}

// Count is how many objects changed.
func (d *Digest) Count() int { return d.count }

// Sum is the digest in hexadecimal, empty if nothing changed.
func (d *Digest) Sum() string {
	if d.count == 0 {
		return ""
	}
	return hex.EncodeToString(d.hash.Sum(nil))
}
