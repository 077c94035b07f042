package ldap

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/go-ldap/ldap/v3"

	"github.com/ambit-iam/ambit/directory"
)

// The right that gives password hashes away (Rule AD-5).
const (
	replicatingChangesAll = directory.ObjectID("1131f6ad-9c07-11d1-f79f-00c04fc2dcd2")
	controlAccess         = 0x100 // of an access mask: extended rights

	controlSecurityFlags = "1.2.840.113556.1.4.801"
)

// securityFlags asks for the access control list alone: the rest is not for all to
// read.
var securityFlags = ldap.NewControlString(controlSecurityFlags, true, "\x30\x03\x02\x01\x04")

// maySeeSecrets tells whether the account that is bound has Replicating Directory
// Changes All. What denies it is not weighed: the warning is then one too many.
func (c *connection) maySeeSecrets(base string) (bool, error) {
	groups, err := c.values("", "tokenGroups", nil)
	if err != nil {
		return false, fmt.Errorf("read the account's own groups: %w", err)
	}
	descriptor, err := c.values(base, "nTSecurityDescriptor", []ldap.Control{securityFlags})
	if err != nil || len(descriptor) != 1 {
		return false, err // which the account may not see
	}
	holders, ok := holdersOfAll(descriptor[0])
	if !ok {
		return false, fmt.Errorf("%w: the security descriptor of %s cannot be read", directory.ErrIncomplete, base)
	}
	return slices.ContainsFunc(groups, func(sid string) bool { return slices.Contains(holders, sid) }), nil
}

// holdersOfAll lists the SIDs, in bytes, that an access control list gives the right
// to (MS-DTYP, 2.4).
func holdersOfAll(descriptor string) (sids []string, ok bool) {
	d := []byte(descriptor)
	if len(d) < 20 {
		return nil, false
	}
	at := uint64(binary.LittleEndian.Uint32(d[16:]))
	if at == 0 {
		return nil, true
	}
	if at+8 > uint64(len(d)) {
		return nil, false
	}
	count, list := binary.LittleEndian.Uint16(d[at+4:]), d[at+8:]
	const (
		allowed, allowedObject = 0, 5    // types
		inheritOnly            = 0x08    // flag
		header, guid           = 8, 0x10 // bytes
	)
	for range count {
		if len(list) < header {
			return nil, false
		}
		size := int(binary.LittleEndian.Uint16(list[2:]))
		if size < header || size > len(list) {
			return nil, false
		}
		entry := list[:size]
		list = list[size:]
		mask, rest := binary.LittleEndian.Uint32(entry[4:]), entry[header:]
		if entry[1]&inheritOnly != 0 || mask&controlAccess == 0 {
			continue
		}
		switch entry[0] {
		case allowed:
			sids = append(sids, string(rest))
		case allowedObject:
			if len(rest) < 4 {
				return nil, false
			}
			present := binary.LittleEndian.Uint32(rest)
			rest = rest[4:]
			right := replicatingChangesAll // none named: all
			for bit := uint32(1); bit <= 2; bit++ {
				if present&bit == 0 {
					continue
				}
				if len(rest) < guid {
					return nil, false
				}
				if bit == 1 {
					right, _ = guidText(string(rest[:guid]))
				}
				rest = rest[guid:]
			}
			if right == replicatingChangesAll {
				sids = append(sids, string(rest))
			}
		}
	}
	return sids, true
}
