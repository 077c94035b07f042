// Package mapping is the rule language that turns what directories say into the
// users, group teams, memberships and role assignments of environments.
//
// It owns the language, its checks, and the evaluation, whole (New) and by what
// was touched (Update), which give the same. It is pure: it does not read
// directories, compare with what there is, guard, or write. Guards are parsed here
// and judged by package dirsync.
//
// # A file
//
//	environments:
//	  sales-prod:
//	    security_group: {source: entra, group: Sales_SG, nested: team}
//	    licences: {accept: [DYN365_CDS_P2]}
//	rules:
//	  - name: where people sit
//	    match: {source: entra, users: 'user.enabled && user.employeeType == "staff"'}
//	    user:
//	      environment: sales-prod
//	      business_unit: '{{ user.department }}'
//	  - name: regional sales teams
//	    match: {source: entra, group: 'Sales *'}
//	    team:
//	      environment: sales-prod
//	      membership: members
//	      business_unit: '{{ capture[1] }}'
//	      roles: [Salesperson]
//	guards:
//	  remove_members: {max: 20, max_share: 0.05}
//	  team_share: 0.5
//	  privileged: {roles: [Sales Manager], max: 3}
//	  protected: {roles: [System Administrator], users: [breakglass@example.com]}
//
// environments lists every environment that rules fill. An entry may have
//
//   - security_group: {source, group, nested}: only its members get in (Rule
//     ESG-1). group is a name, a DN or "id:…", without wildcards. nested says
//     whether members of groups within it count: none, all, or team (the default):
//     those of groups that have a team here (Rule ESG-2). The plan says through
//     which groups somebody gets in (Rule GRAPH-32). Where users come from
//     several sources it is a list with one group for each. A group that is
//     missing, ambiguous or empty admits nobody anew and shuts nobody out (Rule
//     ESG-6).
//   - licences: {accept: [service plans]}: only users with one of these plans, or
//     for whom a rule's licence says so, get in (Rule LIC-1). A plan is given by its
//     id, or by name where plans.csv has it (Rule GRAPH-34).
//
// rules each have a name of their own, a match, and either user or team. Names of
// business units, positions and roles count without regard to case; their ids do
// as well.
//
// # Rules that place users
//
// match: {source, users}. users is a condition on user. The first rule of the file
// that matches places the user in its environment:
//
//	user:
//	  environment: sales-prod                  # required
//	  business_unit: '{{ user.ou }}'           # required
//	  login: '{{ user.userName }}'             # default, as the next three
//	  name: '{{ user.name }}'
//	  mail: '{{ user.mail }}'
//	  manager: '{{ user.manager }}'            # a reference, a user name or an id
//	  position: '{{ user.title }}'             # a name or id; default none, as the next
//	  person: '{{ user.employeeId }}'          # joins the accounts of one human (Rule JIT-16)
//	  licence: 'user.licensed == "yes"'        # default: a plan that licences.accept lists; user.values.plans has ids
//	  kind: person                             # default; or application, stub (Rules ACC-2, ACC-3)
//	  application: '{{ user.appId }}'          # the app registration of an application user
//	  access_mode: read_write                  # default; or administrative, read, support,
//	                                           # non_interactive, delegated_administrator (Rule ACC-1)
//	  tenant_administrator: '"Power Platform Administrator" in user.values.roles' # exempt from the security group (Rule ESG-3)
//
// The user is enabled exactly when the source says so. Who has no rule is not in
// the environment, and in no team of it. People who are each other's managers, in
// however many steps, get none: a Finding names them (Rule HIER-9).
//
// # Rules that make teams
//
// match: {source, group, where}, one or both. group is
//
//   - "id:…": the one group with this id;
//   - a DN, cn=sales-*,ou=groups,dc=example,dc=com: compared part by part, without
//     regard to case and spaces; "**," in front stands for one part or more;
//   - anything else: the group's display name, without regard to case.
//
// In a name, and in the values of a DN, * stands for any characters. where is a
// condition on group. The first rule of the file that matches makes the group's
// team of its membership kind (Rule TEAM-2):
//
//	team:
//	  environment: sales-prod          # required
//	  business_unit: '{{ capture[1] }}' # required
//	  name: '{{ group.name }}'         # default; with (Owners) or (Guests) for these kinds
//	  membership: members_and_guests   # default; or members, owners, guests
//	  nested: false                    # default; true: members of groups within it too (Rule TEAM-3)
//	  type: security_group             # or m365_group: only groups of this kind; default both
//	  roles: [Salesperson]             # held by the team, in its business unit
//	  role_unit: North                 # held in another one, in modernized environments (Rule BU-9)
//
// A group of Active Directory can have members of another domain, whom it names by
// SID. They are the users and groups that have the SID in other sources that rules
// name; whom none has is pending, and a Finding tells of it (Rule AD-19).
//
// # Text and conditions
//
// A text (business_unit, name, login, …) is taken as it stands, but for holes:
// {{ expression }}, in CEL, giving text. A condition (users, where, licence,
// tenant_administrator) is one CEL expression that gives true or false. https://cel.dev explains CEL; its
// string extensions (lowerAscii, split, …) are there.
//
//	user.department     first value of the attribute, "" if there is none
//	user.values.mail    all its values, a list
//	user.`x-region`     an attribute whose name is no word
//	has(user.mail)      whether there is a value
//	user.id user.dn user.name             of group, too
//	user.enabled user.guest               true or false
//	capture[1]          what the first * of match.group took; capture[0] the whole
//
// An expression that fails for a user or group is a Finding: what is there stays
// as it is, but for being disabled, and nothing new is made.
//
// # What is an error
//
// Unknown keys, names of sources, environments, business units and roles;
// duplicate names; expressions that do not compile; and rules that cannot have
// an effect, because an earlier one takes all they match, because their
// condition is never true, or because nobody could be in what they make. Compile
// reports all of them, with their places. What only the directory can show is a
// Finding.
//
// # Guards
//
// See Guards. A guard that is not mentioned has the strict value of
// DefaultGuards.
package mapping
