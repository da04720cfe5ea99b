import Reporting

/// Asks once more before something is changed.
struct ConfirmationPage {
  var title: String
  var what: String
  /// Where the form goes, and where a person goes who does not want it.
  var action: String
  var back: String
  var button: String
  var formToken: String

  var html: String {
    let body: Markup = """
      <h1>\(title)</h1><p>\(what)</p><form method="post" action="\(action)">\
      <input type="hidden" name="form" value="\(formToken)"/><p class="actions"><button class="do strong">\(button)</button>\
      <a class="do" href="\(back)">Leave it as it is</a></p></form>
      """
    return Frame(title: title, place: .none, body: body).html
  }
}

/// Asks for the token.
struct LoginPage {
  var next: String
  var isWrong: Bool

  var html: String {
    var body: Markup = "<h1>Token</h1>"
    if isWrong { body += "<p class=\"answer doubt\" role=\"alert\">That is not the token.</p>" }
    body += """
      <p>This dashboard asks for the token that it was started with.</p><form method="post" action="/login">\
      <input type="hidden" name="next" value="\(next)"/><p><label for="token">Token</label><br/>\
      <input id="token" name="token" type="password" autocomplete="current-password" required="required"/></p>\
      <p class="actions"><button class="do strong">Go on</button></p></form>
      """
    return Frame(title: "Token", place: .none, body: body).html
  }
}

/// What cannot be shown or done, and why.
struct TroublePage {
  var title: String
  var message: String

  var html: String {
    let body: Markup =
      "<h1>\(title)</h1><p>\(message)</p><p class=\"actions\"><a class=\"do\" href=\"/\">All sweeps</a></p>"
    return Frame(title: title, place: .none, body: body).html
  }
}
