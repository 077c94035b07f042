package jit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Duration is a whole number of seconds: "2h" in YAML and on the command line,
// "PT2H" in JSON; both are read everywhere (Rule JIT-27). Months and years are
// refused, since their length is not known.
type Duration time.Duration

// ParseDuration reads either form.
func ParseDuration(s string) (Duration, error) {
	fault := fmt.Errorf("duration %q: want a whole number of seconds, like 2h30m or PT2H30M", s)
	d, err := time.ParseDuration(s)
	if rest, iso := strings.CutPrefix(s, "P"); iso {
		d, err = parseISO(rest)
	}
	if err != nil || d <= 0 || d%time.Second != 0 {
		return 0, fault
	}
	return Duration(d), nil
}

// parseISO reads what follows the P of an ISO 8601 duration of weeks, days,
// hours, minutes and seconds, each at most once and in this order.
func parseISO(s string) (time.Duration, error) {
	const units = "WD" + "THMS"
	lengths := map[byte]time.Duration{'W': 7 * 24 * time.Hour, 'D': 24 * time.Hour, 'H': time.Hour, 'M': time.Minute, 'S': time.Second}
	var d time.Duration
	at := -1 // position in units of what was read last
	clock := strings.IndexByte(units, 'T')
	for s != "" {
		if s[0] == 'T' && at < clock && len(s) > 1 {
			at, s = clock, s[1:]
			continue
		}
		n := 0
		for n < len(s) && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		if n == 0 || n == len(s) || n > 9 {
			return 0, strconv.ErrSyntax
		}
		i := strings.IndexByte(units, s[n])
		if i <= at || i == clock || (i > clock) != (at >= clock) {
			return 0, strconv.ErrSyntax
		}
		count, err := strconv.Atoi(s[:n])
		if err != nil {
			return 0, err
		}
		if count > int((1<<62)/lengths[s[n]]) {
			return 0, strconv.ErrRange
		}
		d += time.Duration(count) * lengths[s[n]]
		at, s = i, s[n+1:]
	}
	return d, nil
}

// String writes the form of the command line, without parts that are zero.
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = s[:len(s)-2]
	}
	if strings.HasSuffix(s, "h0m") {
		s = s[:len(s)-2]
	}
	return s
}

// MarshalText writes the form of JSON, such as "PT2H".
func (d Duration) MarshalText() ([]byte, error) {
	return []byte("PT" + strings.ToUpper(d.String())), nil
}

// UnmarshalText reads either form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err != nil {
		return err
	}
	*d = v
	return nil
}
