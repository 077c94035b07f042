# Makes the accounts and the company in a domain that was just provisioned:
#   provision.py SMB.CONF SAM.LDB PASSWORD ENTRIES.LDIF CHANGES.LDIF
# It works on the database itself, so that objects can be given their GUIDs.
import sys

from samba import param
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.samdb import SamDB
import ldb

conf, path, password, entries, changes = sys.argv[1:]
lp = param.LoadParm()
lp.load(conf)
sam = SamDB(url=path, session_info=system_session(), lp=lp)
base = str(sam.get_default_basedn())
for name in ("ambit", "ordinary"):
    sam.newuser(name, password)

# Replicating Directory Changes, and not "... All".
ambit = sam.search(base, expression="(sAMAccountName=ambit)", attrs=["objectSid"])[0]
sid = str(ndr_unpack(security.dom_sid, ambit["objectSid"][0]))
root = sam.search(base, scope=ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"])[0]
descriptor = ndr_unpack(security.descriptor, root["nTSecurityDescriptor"][0])
domain = security.dom_sid(sam.get_domain_sid())
more = security.descriptor.from_sddl("D:(OA;;CR;1131f6aa-9c07-11d1-f79f-00c04fc2dcd2;;%s)" % sid, domain)
for ace in more.dacl.aces:
    descriptor.dacl_add(ace)
change = ldb.Message(ldb.Dn(sam, base))
change["nTSecurityDescriptor"] = ldb.MessageElement(ndr_pack(descriptor), ldb.FLAG_MOD_REPLACE, "nTSecurityDescriptor")
sam.modify(change)

# The controller gives itself this name when all of its services run.
controller = ldb.Message(ldb.Dn(sam, "CN=DC1,OU=Domain Controllers," + base))
controller["servicePrincipalName"] = ldb.MessageElement("ldap/dc1." + lp.get("realm").lower(), ldb.FLAG_MOD_ADD, "servicePrincipalName")
sam.modify(controller)

sam.transaction_start()
with open(entries, encoding="utf-8") as f:
    sam.add_ldif(f.read(), controls=["relax:0"])
with open(changes, encoding="utf-8") as f:
    sam.modify_ldif(f.read())
sam.transaction_commit()
