package scim

import (
	"strings"

	"github.com/ambit-iam/ambit/access"
	"github.com/ambit-iam/ambit/directory"
)

// The schemas of the protocol's resources and messages.
const (
	userSchema       = "urn:ietf:params:scim:schemas:core:2.0:User"
	groupSchema      = "urn:ietf:params:scim:schemas:core:2.0:Group"
	enterpriseSchema = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
	messages         = "urn:ietf:params:scim:api:messages:2.0:"
)

// attribute is one attribute of a schema, as /Schemas tells of it.
type attribute struct {
	Name            string      `json:"name"`
	Type            string      `json:"type"`
	MultiValued     bool        `json:"multiValued"`
	Required        bool        `json:"required"`
	CaseExact       bool        `json:"caseExact"`
	Mutability      string      `json:"mutability"`
	Returned        string      `json:"returned"`
	Uniqueness      string      `json:"uniqueness"`
	SubAttributes   []attribute `json:"subAttributes,omitempty"`
	CanonicalValues []string    `json:"canonicalValues,omitempty"`
	ReferenceTypes  []string    `json:"referenceTypes,omitempty"`
}

// schema is a named list of attributes.
type schema struct {
	Schemas     []string    `json:"schemas"`
	ID          string      `json:"id"`
	Name        string      `json:"name"`
	Description string      `json:"description"`
	Attributes  []attribute `json:"attributes"`
}

func text(name string) attribute {
	return attribute{Name: name, Type: "string", Mutability: "readWrite", Returned: "default", Uniqueness: "none"}
}

func typed(name, typ string) attribute {
	a := text(name)
	a.Type = typ
	return a
}

func reference(name string, to ...string) attribute {
	a := typed(name, "reference")
	a.CaseExact, a.ReferenceTypes = true, to
	return a
}

func composed(name string, sub ...attribute) attribute {
	a := typed(name, "complex")
	a.SubAttributes = sub
	return a
}

// values is a multi-valued attribute of the usual shape.
func values(name string, value attribute) attribute {
	a := composed(name, value, text("display"), text("type"), typed("primary", "boolean"))
	a.MultiValued = true
	return a
}

func required(a attribute, uniqueness string) attribute {
	a.Required, a.Uniqueness = true, uniqueness
	return a
}

// The resources' attributes (RFC 7643, sections 4.1 to 4.3), but for those that
// Ambit does not keep: passwords, and a user's groups, which are the groups'
// affair.
var (
	users = schema{ID: userSchema, Name: "User", Description: "A person's account", Attributes: []attribute{
		required(text("userName"), "server"),
		{Name: "externalId", Type: "string", CaseExact: true, Mutability: "readWrite", Returned: "default", Uniqueness: "none"},
		composed("name", text("formatted"), text("familyName"), text("givenName"), text("middleName"), text("honorificPrefix"), text("honorificSuffix")),
		text("displayName"), text("nickName"), reference("profileUrl", "external"), text("title"), text("userType"),
		text("preferredLanguage"), text("locale"), text("timezone"), typed("active", "boolean"),
		values("emails", text("value")), values("phoneNumbers", text("value")), values("ims", text("value")),
		values("photos", reference("value", "external")),
		{
			Name: "addresses", Type: "complex", MultiValued: true, Mutability: "readWrite", Returned: "default", Uniqueness: "none",
			SubAttributes: []attribute{
				text("formatted"), text("streetAddress"), text("locality"), text("region"), text("postalCode"), text("country"), text("type"), typed("primary", "boolean"),
			},
		},
		values("entitlements", text("value")), values("roles", text("value")), values("x509Certificates", typed("value", "binary")),
	}}
	enterprise = schema{ID: enterpriseSchema, Name: "EnterpriseUser", Description: "What an organisation says of a person", Attributes: []attribute{
		text("employeeNumber"), text("costCenter"), text("organization"), text("division"), text("department"),
		composed("manager", text("value"), reference("$ref", "User"), text("displayName")),
	}}
	groups = schema{ID: groupSchema, Name: "Group", Description: "A group of users and groups", Attributes: []attribute{
		required(text("displayName"), "server"),
		{Name: "externalId", Type: "string", CaseExact: true, Mutability: "readWrite", Returned: "default", Uniqueness: "none"},
		{
			Name: "members", Type: "complex", MultiValued: true, Mutability: "readWrite", Returned: "default", Uniqueness: "none",
			SubAttributes: []attribute{
				{Name: "value", Type: "string", CaseExact: true, Mutability: "immutable", Returned: "default", Uniqueness: "none"},
				{Name: "$ref", Type: "reference", CaseExact: true, Mutability: "immutable", Returned: "default", Uniqueness: "none", ReferenceTypes: []string{"User", "Group"}},
				{Name: "type", Type: "string", Mutability: "immutable", Returned: "default", Uniqueness: "none", CanonicalValues: []string{"User", "Group"}},
			},
		},
	}}
	// common are attributes that every resource has and that the server makes.
	common = []attribute{
		{Name: "id", Type: "string", CaseExact: true, Mutability: "readOnly", Returned: "always", Uniqueness: "server"},
		{Name: "schemas", Type: "reference", MultiValued: true, CaseExact: true, Mutability: "readOnly", Returned: "always", Uniqueness: "none"},
		{Name: "meta", Type: "complex", Mutability: "readOnly", Returned: "default", Uniqueness: "none", SubAttributes: []attribute{
			{Name: "resourceType", Type: "string", CaseExact: true},
			{Name: "created", Type: "dateTime"},
			{Name: "lastModified", Type: "dateTime"},
			{Name: "location", Type: "reference", CaseExact: true},
			{Name: "version", Type: "string", CaseExact: true},
		}},
	}
)

// resourceType is one of the two kinds of resource.
type resourceType struct {
	kind     directory.Kind
	endpoint string
	schema   *schema
	// name is the attribute that is unique.
	name string
}

var (
	userType  = &resourceType{directory.KindUser, "Users", &users, "userName"}
	groupType = &resourceType{directory.KindGroup, "Groups", &groups, "displayName"}
)

func typeOf(k directory.Kind) *resourceType {
	if k == directory.KindGroup {
		return groupType
	}
	return userType
}

// find returns an attribute of a list, by name without regard to case.
func find(list []attribute, name string) *attribute {
	for i := range list {
		if strings.EqualFold(list[i].Name, name) {
			return &list[i]
		}
	}
	return nil
}

// attribute returns what is known of an attribute of the resource: nil for one
// that only the client knows.
func (t *resourceType) attribute(urn, name string) *attribute {
	switch urn {
	case "":
		if a := find(t.schema.Attributes, name); a != nil {
			return a
		}
		return find(common, name)
	case enterpriseSchema:
		if t == userType {
			return find(enterprise.Attributes, name)
		}
	}
	return nil
}

// extended finds the extension that an attribute belongs to where a client leaves
// its schema out, as Entra does when it asks for a manager.
func (t *resourceType) extended(urn, name string) string {
	if urn == "" && t == userType && t.attribute("", name) == nil && find(enterprise.Attributes, name) != nil {
		return enterpriseSchema
	}
	return urn
}

// sub returns what is known of a part of an attribute, which may be nil.
func (a *attribute) sub(name string) *attribute {
	if a == nil {
		return nil
	}
	return find(a.SubAttributes, name)
}

// fold brings a value to the form in which values are compared that do not regard
// case. Names of users are compared everywhere in Ambit so.
func fold(s string) string { return access.Fold(s) }
