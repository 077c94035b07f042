// Package model reads model files, in which people declare what no directory
// brings: environments with their settings, business units, tables and how they
// relate, positions, security roles, column security profiles, access team
// templates, teams and role assignments. It also holds what ships with Ambit: the
// out-of-box roles and tables of an environment (OutOfBox) and the environment of
// Ambit's own administration (Ambit).
//
// It makes desired objects out of text. It does not know what there is, compares
// nothing and changes nothing: package dirsync does. What a file declares is
// managed by file, what ships is managed by the system.
//
// # A model file
//
// testdata/ok_reference.yaml shows every key. Each environment is declared in one
// file, whole; what is taken out of the file is taken out of the environment with
// the next synchronization.
//
//	environments:
//	  sales-prod:                     # the id, everywhere
//	    name: Sales (production)      # the id, if absent
//	    settings:
//	      record_ownership_across_business_units: true      # default false (Rule BU-9)
//	      always_move_record_to_owner_business_unit: true   # default true (Rule OWN-11)
//	      do_not_remove_roles_on_change_business_unit: true # default false (Rule OWN-13)
//	      share_reassigned_with_previous_owner: false       # default false (Rule OWN-10)
//	      kind: sandbox                                     # default production; or trial, developer, default (Rule ESG-5)
//	      per_app_plan: false                               # default false; true: everybody counts as licensed (Rule LIC-1)
//	      templates_per_table: 2                            # default 2 (Rule TEAM-6)
//	      non_interactive_users: 7                          # default 7 (Rule ACC-1)
//	      hierarchy:                                        # off, if absent (Rule HIER-1)
//	        model: manager                                  # or position
//	        depth: 3                                        # levels down, 1 to 100
//	        direct_levels: 1                                # default 1 (Rule HIER-3)
//	        except: [contact]                               # tables left out
//	        include_disabled_reports: true                  # default true (Rule HIER-8)
//	        managers_must_be_in_same_or_parent_unit: true   # default true (Rule HIER-5)
//	    business_units:               # one root, and below it what there is
//	      Contoso:
//	        units:
//	          Sales: {units: {Sales EMEA: {id: emea, disabled: true}}}
//	    tables:
//	      account:
//	        name: Account
//	        ownership: user_or_team
//	        access_teams: true        # may have access team templates (Rule TEAM-6)
//	        columns:                  # those that are secured, or calculated from others
//	          iban: {secured: true, mask: {pattern: '.*(.{4})$', replace: '****$1'}}
//	          iban_country: {from: [iban], open: true} # not secured, though calculated from one that is (Rule FLS-8)
//	      contact: {}
//	      app_setting: {ownership: organization, system: true} # what administrative users reach (Rule ACC-1)
//	    relationships:                # from a table to its parents' (Rule OWN-12)
//	      account_contacts:
//	        {table: contact, parent: account, cascade: {assign: user_owned, share: all, unshare: all, reparent: active, delete: none}}
//	      favourites: {table: contact, parent: account, many_to_many: true}
//	    access_team_templates:
//	      Deal team: {table: account, rights: [read, write]}
//	    positions:                    # as business units, but any number on top (Rule HIER-7)
//	      Head of Sales:
//	        positions:
//	          Representative: {id: rep}
//	    roles:
//	      Salesperson:
//	        business_unit: Contoso    # where it is defined; the root, if absent
//	        inheritance: direct_user  # or team_only (Rules ROLE-7, ROLE-8)
//	        privileges:
//	          account: {all: user, read: organization, delete: none}
//	        miscellaneous: [ExportToExcel]
//	    column_profiles:              # who reaches secured columns (Rule FLS-2)
//	      Accountants:
//	        columns:
//	          account:
//	            iban: {read: true, unmasked: one_record, update: true, create: false}
//	        members: [ann@example.com]
//	        teams: [Deal desk]
//	    teams:
//	      Deal desk:
//	        type: owner               # or access; group teams are mapped
//	        business_unit: Sales      # the root, if absent
//	        members: [ann@example.com]
//	        roles: [Salesperson]      # in the team's unit
//	    assignments:                  # one role to one user or team
//	      - {role: Salesperson, user: bob@example.com, until: 2027-01-31T17:00:00Z}
//	      - {role: Salesperson, team: Deal desk, business_unit: Sales EMEA}
//
// Ownership is user_or_team (the default), organization, business_unit or none.
// Actions are create, read, write, delete, append, append_to, assign, share, and
// all for those that are not named beside it. Depths are none, user,
// business_unit, parent_child and organization. An assignment without a business
// unit is in the principal's; from and until bound it in time.
//
// A mask replaces what its pattern, in RE2 syntax, matches. Unmasked is
// not_allowed, one_record or all_records; what a profile does not say it does not
// allow. A cascade is none (the default), active, user_owned or all.
//
// Units, roles and teams are named by name, or by id, the rest by id. An id is made of the name
// (letters and digits in lower case, the rest a hyphen) unless the file gives
// one: with an id of its own a thing can be renamed and stays the same thing.
// Names of each kind are unique in their environment, but for case.
//
// Users come from directories, so a login is looked up when there are users to
// look it up among (Model.Resolve). One that nobody has is a finding with its
// place in the file, and the rest of the file holds all the same.
//
// What would break a rule of the access model is a fault of the file, which names
// the rule. What depends on users is not known yet when a file is read.
//
// The environment "ambit" takes roles, teams and assignments only; the rest of it
// ships. In every other environment the roles and tables of OutOfBox are there
// beside the file's and can be named in it.
//
// # Who may do what with Ambit
//
// Each right is a privilege on a table of the environment "ambit", decided by the
// engine like any other. Ambit Administrator has all of them.
//
//	Table           read                            create, write, delete              Roles that have it, but Ambit Administrator
//	environment     see environments                make, set, delete                  read: Elevation Administrator, Operator, Auditor
//	businessunit    see business units              make, move, disable, delete        read: the same
//	table           see tables (1)                  make, change, delete               read: the same
//	role            see security roles              make, change, copy, delete         read: the same
//	systemuser      see users and positions         make, disable, delete by hand (2)  read: the same
//	team            see teams and members           make, change members, delete       read: the same
//	assignment      see role assignments            give and take roles                read: the same
//	record          see registered records          register, assign, link, delete     read: Auditor
//	share           see shares, of columns too      grant, revoke                      read: Auditor
//	column_profile  see profiles and their members  make, give, take, delete           read: Auditor
//	source          state of directories            write: read one anew               read: Operator, Auditor; write: Operator
//	mapping         see rules and model files       (they are files)                   read: Operator, Auditor
//	plan            see plans                       create: plan; write: apply         all three: Operator; read: Auditor
//	jit_policy      see elevation policies          make, change, delete               all: Elevation Administrator; read: Auditor
//	jit_request     see everybody's requests        write: cancel and revoke           both: Elevation Administrator; read: Auditor
//	audit           read and verify the log         (nobody writes it)                 read: Auditor
//	decision        ask about anybody               (nothing to write)                 read: Auditor, Decision Reader
//	metrics         read metrics                    (nothing to write)                 read: Operator, Auditor
//
// (1) And relationships and access team templates.
//
// (2) To set somebody's manager or position by hand, or an environment's hierarchy
// security, needs a miscellaneous privilege as well: AssignManager, AssignPosition
// and ChangeHierarchySecurity (Rule HIER-10).
//
// Asking for elevation, deciding where one is an approver, and asking what one
// may do oneself need none of these.
//
// Whoever may write role, team or assignment could give others, and themselves,
// more: only what one has oneself can be given (Rule ACC-5), which whoever makes
// such a change judges, not this package.
package model
