import Crypto
import Foundation
import Reporting

/// The style and the script, under names that change with what they hold, so that browsers may keep them.
enum Assets {
  static let style = [
    Stylesheet.plain, Stylesheet.ramp, String(decoding: PackageResources.dashboard_css, as: UTF8.self),
  ].joined(separator: "\n")
  static let script = String(decoding: PackageResources.live_js, as: UTF8.self)
  static let styleName = name(style, "css")
  static let scriptName = name(script, "js")
  static let stylePath = link("assets", styleName)
  static let scriptPath = link("assets", scriptName)

  private static func name(_ text: String, _ suffix: String) -> String {
    "\(SHA256.hash(data: Data(text.utf8)).prefix(8).hexText).\(suffix)"
  }
}
