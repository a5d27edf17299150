# Prints lines of an audit log as columns, separated by tabs: time, user, verb, object, status, and the body of the request if the
# log has it. docs/AUDIT.md uses it.
#
# A client decides what a body contains, and the API server what the rest contains. So the columns are read from the part before
# the bodies and from the part after them.
function text(part, name,   from) {
    from = index(part, "\"" name "\":\"")
    if (!from) return ""
    part = substr(part, from + length(name) + 4)
    from = index(part, "\"")
    return from ? substr(part, 1, from - 1) : part
}
function object(part, name,   from) {
    from = index(part, "\"" name "\":{")
    if (!from) return ""
    part = substr(part, from)
    return substr(part, 1, index(part, "}"))
}
{
    head = $0
    bodies = index(head, "\"requestObject\":")
    if (!bodies) bodies = index(head, "\"responseObject\":")
    if (bodies) head = substr(head, 1, bodies - 1)
    tail = $0
    sub(/.*"requestReceivedTimestamp":"/, "", tail)
    time = substr(tail, 1, 19) "Z"

    body = ""
    from = index($0, "\"requestObject\":")
    if (from) {
        body = substr($0, from + 16)
        to = index(body, ",\"responseObject\":")
        if (!to) to = index(body, ",\"requestReceivedTimestamp\":")
        body = substr(body, 1, to - 1)
        # kubectl apply repeats the manifest in an annotation.
        sub(/"kubectl[.]kubernetes[.]io\/last-applied-configuration":"([^"\\]|\\.)*"/, "", body)
    }

    user = text(object(head, "user"), "username")
    as = text(object(head, "impersonatedUser"), "username")
    if (as != "") user = user " as " as
    verb = text(head, "verb")
    is_dry = text(head, "requestURI") ~ /([?]|\\u0026)dryRun=All/
    if (is_dry || (verb ~ /^delete/ && index(body, "\"dryRun\":[\"All\"]"))) verb = verb " (dry run)"
    about = object(head, "objectRef")
    resource = text(about, "resource")
    if (text(about, "subresource") != "") resource = resource "/" text(about, "subresource")
    name = text(about, "name")
    code = head
    if (!sub(/.*"responseStatus":\{/, "", code) || !sub(/.*"code":/, "", code)) code = ""
    sub(/[^0-9].*/, "", code)
    print time "\t" user "\t" verb "\t" resource " " text(about, "namespace") "/" (name == "" ? "*" : name) "\t" code "\t" body
}
