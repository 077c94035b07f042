package ldap

import "errors"

// The tags of what a search answers (RFC 4511, 4.5.2).
const (
	tagInteger  = 0x02
	tagOctets   = 0x04
	tagSequence = 0x30
	tagSet      = 0x31
	tagEntry    = 0x64 // [APPLICATION 4], constructed
	tagBetween  = 0x79 // [APPLICATION 25], constructed: an intermediate message

	tagBoolean    = 0x01
	tagEnumerated = 0x0a
	tagControls   = 0xa0 // [0], constructed
)

var errMalformed = errors.New("the server sent an entry that is not LDAP")

// element cuts the first element off BER data. LDAP allows definite lengths only
// (RFC 4511, 5.1), in as many bytes as the server likes.
func element(s string) (tag byte, content, rest string, ok bool) {
	if len(s) < 2 {
		return 0, "", "", false
	}
	tag, size, s := s[0], int(s[1]), s[2:]
	if size >= 0x80 {
		n := size & 0x7f
		if n == 0 || n > len(s) {
			return 0, "", "", false
		}
		size = 0
		for _, b := range []byte(s[:n]) {
			if size = size<<8 | int(b); size > maxMessage {
				return 0, "", "", false
			}
		}
		s = s[n:]
	}
	if size > len(s) {
		return 0, "", "", false
	}
	return tag, s[:size], s[size:], true
}

// isTaken tells whether a message, without its header, is a search's entry or an
// intermediate message.
func isTaken(message []byte) bool {
	if len(message) < 2 || message[0] != tagInteger || message[1] > 8 {
		return false
	}
	at := 2 + int(message[1]) // behind the message's number
	return len(message) > at && (message[at] == tagEntry || message[at] == tagBetween)
}

// isBetween tells an intermediate message from an entry.
func isBetween(message string) bool {
	_, _, rest, ok := element(message)
	return ok && len(rest) > 0 && rest[0] == tagBetween
}

// entry is what a server says of one entry. All of its strings share the
// message's memory.
type entry struct {
	dn         string
	attributes []attribute
	controls   string // as they came: see control
}

type attribute struct {
	name   string // with its options
	values []string
}

// read decodes a message that holds an entry, over the one before: the values of
// that one must not be used any more.
func (e *entry) read(message string) error {
	tag, _, message, ok := element(message) // the message's number
	if !ok || tag != tagInteger {
		return errMalformed
	}
	tag, body, rest, ok := element(message)
	if !ok || tag != tagEntry {
		return errMalformed
	}
	if e.controls = ""; rest != "" {
		if tag, e.controls, _, ok = element(rest); !ok || tag != tagControls {
			return errMalformed
		}
	}
	if tag, e.dn, body, ok = element(body); !ok || tag != tagOctets {
		return errMalformed
	}
	tag, list, _, ok := element(body)
	if !ok || tag != tagSequence {
		return errMalformed
	}
	e.attributes = e.attributes[:0]
	for n := 0; list != ""; n++ {
		var one string
		if tag, one, list, ok = element(list); !ok || tag != tagSequence {
			return errMalformed
		}
		if n == cap(e.attributes) {
			e.attributes = append(e.attributes, attribute{})
		}
		e.attributes = e.attributes[:n+1] // with the memory of the one before
		a := &e.attributes[n]
		if tag, a.name, one, ok = element(one); !ok || tag != tagOctets {
			return errMalformed
		}
		tag, values, _, ok := element(one)
		if !ok || tag != tagSet {
			return errMalformed
		}
		for a.values = a.values[:0]; values != ""; {
			var v string
			if tag, v, values, ok = element(values); !ok || tag != tagOctets {
				return errMalformed
			}
			a.values = append(a.values, v)
		}
	}
	return nil
}

// control returns the value of the entry's control of a type.
func (e *entry) control(oid string) (value string, ok bool) {
	for list := e.controls; list != ""; {
		var one, name string
		var tag byte
		if tag, one, list, ok = element(list); !ok || tag != tagSequence {
			return "", false
		}
		if _, name, one, ok = element(one); !ok {
			return "", false
		}
		if tag, value, one, ok = element(one); ok && tag == tagBoolean { // whether it is critical
			_, value, _, ok = element(one)
		}
		if name == oid {
			return value, ok
		}
	}
	return "", false
}
