package file

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"github.com/ambit-iam/ambit/directory"
)

// maxFile is how large a file may be.
const maxFile = 2 << 30 // bytes

// whole is an open file that has shown that it is whole.
type whole struct {
	path    string
	file    *os.File
	info    fs.FileInfo
	hash    [sha256.Size]byte
	size    int64 // without the trailer
	records int   // that the trailer tells of; -1: it does not

	// counted is the offset up to which lines are counted.
	counted int64
	lines   int
}

var trailer = regexp.MustCompile(`(?:^|\n)# end(?: ([0-9]{1,9}))?\r?\n$`)

// tail is how much of a file's end is looked at for the trailer.
const tail = 64

// open opens a file, reads it once, and checks that it is whole. The caller closes
// it.
func open(path, end string) (_ *whole, err error) {
	w := &whole{path: path, records: -1}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() { // a pipe would be waited for
		return nil, fmt.Errorf("%w: %s is no file", directory.ErrUnreachable, path)
	}
	w.file, err = os.Open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %w; let the daemon's user read it", directory.ErrAuth, err)
	case err != nil:
		return nil, fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.file.Close())
		}
	}()
	if w.info, err = w.file.Stat(); err != nil {
		return nil, fmt.Errorf("%w: %w", directory.ErrUnreachable, err)
	}
	w.size = w.info.Size()
	if w.size > maxFile {
		return nil, w.incomplete("it has more than %d bytes", maxFile)
	}
	h := sha256.New()
	if _, err := io.Copy(h, w.file); err != nil {
		return nil, w.incomplete("%s", err)
	}
	copy(w.hash[:], h.Sum(nil))
	switch end {
	case Trailer:
		return w, w.findTrailer()
	case Checksum:
		return w, w.checksum()
	}
	return w, nil
}

func (w *whole) incomplete(format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s", directory.ErrIncomplete, w.path, fmt.Sprintf(format, args...))
}

func (w *whole) findTrailer() error {
	from := max(w.size-tail, 0)
	b := make([]byte, w.size-from)
	if _, err := w.file.ReadAt(b, from); err != nil && !errors.Is(err, io.EOF) {
		return w.incomplete("%s", err)
	}
	at := trailer.FindSubmatchIndex(b)
	if at == nil {
		return w.incomplete(`it does not end with the line "# end": it was cut short, or whoever writes it has not finished; end it with that line, or configure end otherwise`)
	}
	if at[2] >= 0 {
		n, err := strconv.Atoi(string(b[at[2]:at[3]]))
		if err != nil {
			return w.incomplete("its last line: %s", err)
		}
		w.records = n
	}
	if b[at[0]] == '\n' {
		at[0]++
	}
	w.size = from + int64(at[0])
	return nil
}

// checksum compares the file with the sum that lies beside it.
func (w *whole) checksum() error {
	path := w.path + ".sha256"
	b, err := os.ReadFile(path)
	if err != nil {
		return w.incomplete("its checksum cannot be read: %s; write it with sha256sum", err)
	}
	sum, _, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
	want, err := hex.DecodeString(strings.TrimPrefix(sum, `\`))
	if err != nil || len(want) != sha256.Size {
		return w.incomplete("%s holds no SHA-256 as sha256sum writes it", path)
	}
	if !bytes.Equal(want, w.hash[:]) {
		return w.incomplete("it is not what its checksum in %s says: it was cut short, or one of the two is older", path)
	}
	return nil
}

// parse reads the file a second time. It fails where that is not what was read the
// first time.
func (w *whole) parse(f func(io.Reader) error) error {
	if _, err := w.file.Seek(0, io.SeekStart); err != nil {
		return w.incomplete("%s", err)
	}
	h := sha256.New()
	all := io.TeeReader(w.file, h)
	b := bufio.NewReaderSize(io.LimitReader(all, w.size), 1<<16)
	if start, err := b.Peek(3); err == nil && string(start) == "\ufeff" {
		_, _ = b.Discard(3) // it was there a moment ago
	}
	if err := f(b); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, all); err != nil {
		return w.incomplete("%s", err)
	}
	now, err := w.file.Stat()
	if err != nil {
		return w.incomplete("%s", err)
	}
	if !bytes.Equal(h.Sum(nil), w.hash[:]) || now.Size() != w.info.Size() || !now.ModTime().Equal(w.info.ModTime()) {
		return w.incomplete("it was written to while it was read; let whoever writes it write another file and rename that one")
	}
	return nil
}

// lineAt is the number of the line that has the byte at an offset. It is asked in
// order, mostly.
func (w *whole) lineAt(offset int64) int {
	if offset < w.counted || w.lines == 0 {
		w.counted, w.lines = 0, 1
	}
	var b [4096]byte
	for w.counted < offset {
		n, err := w.file.ReadAt(b[:min(int64(len(b)), offset-w.counted)], w.counted)
		w.lines += bytes.Count(b[:n], []byte{'\n'})
		w.counted += int64(n)
		if err != nil {
			break
		}
	}
	return w.lines
}
