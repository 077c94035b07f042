package api

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// A cursor says where a page ended. It carries a mark of the caller and the list
// with its filter, so that one list's cursor is not taken for another's (Rule
// JIT-76). It is no secret and gives no right: what is on the next page is judged
// again.
func cursorMark(ctx context.Context, list ...any) string {
	who := caller(ctx)
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %q %q", who.Kind, who.ID, fmt.Sprintf("%q", list)))
	return string(sum[:9])
}

func makeCursor(ctx context.Context, after string, list ...any) string {
	return base64.RawURLEncoding.EncodeToString([]byte(cursorMark(ctx, list...) + after))
}

// readCursor returns where the page before ended; an empty cursor is the beginning.
func readCursor(ctx context.Context, cursor string, list ...any) (string, error) {
	if cursor == "" {
		return "", nil
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	after, ok := strings.CutPrefix(string(raw), cursorMark(ctx, list...))
	if err != nil || !ok || after == "" {
		return "", problem("cursor-invalid", http.StatusBadRequest, "the cursor is not one that this list, with this filter, gave you; begin again without one")
	}
	return after, nil
}

// makeNumberCursor and readNumberCursor are for lists that go by a number from 1.
func makeNumberCursor(ctx context.Context, after int64, list ...any) string {
	return makeCursor(ctx, strconv.FormatInt(after, 10), list...)
}

func readNumberCursor(ctx context.Context, cursor string, list ...any) (int64, error) {
	after, err := readCursor(ctx, cursor, list...)
	if err != nil || after == "" {
		return 0, err
	}
	return strconv.ParseInt(after, 10, 64)
}
