import Foundation

/// The colour scale of heat maps and token strips: log10 of relative L2 in 20 steps, even in lightness, so that it
/// reads the same with any colour vision and in grey.
///
/// Computed in OKLCH (Ottosson 2020, "A perceptual color space for image processing"): lightness runs straight, hue
/// turns from yellow over green to violet, chroma is highest in the middle.
package enum Ramp {
  static let steps = 20
  /// Decades covered: 1e-7 and less is the first step, 1 and more the last.
  static let lowest = -7.0

  /// Step of a relative L2 above zero.
  static func step(_ value: Double) -> Int {
    if value.isInfinite { return steps - 1 }
    let position = (log10(value) - lowest) / -lowest * Double(steps - 1)
    return Int(min(max(position.rounded(), 0), Double(steps - 1)))
  }

  /// Class of a heat-map cell: `c0`…`c19`, `z` for exactly equal, `n` for what has no number.
  package static func cssClass(_ value: Double?) -> String {
    guard let value, !value.isNaN else { return "n" }
    return value <= 0 ? "z" : "c\(step(value))"
  }

  /// One rule a step. On a light page large errors are dark, on a dark page they are bright.
  static func rules(dark: Bool) -> String {
    (0..<steps).map { step in
      let share = Double(step) / Double(steps - 1)
      return ".c\(step){fill:\(color(dark ? share : 1 - share, dark: dark))}"
    }.joined()
  }

  /// 0 is the violet end, 1 the yellow one.
  private static func color(_ share: Double, dark: Bool) -> String {
    let lightness = (dark ? 0.30 : 0.28) + 0.66 * share
    let hue = (300 - 195 * share) * .pi / 180
    let chroma = 0.085 + 0.075 * sin(share * .pi)
    let (a, b) = (chroma * cos(hue), chroma * sin(hue))
    let long = pow(lightness + 0.3963377774 * a + 0.2158037573 * b, 3)
    let middle = pow(lightness - 0.1055613458 * a - 0.0638541728 * b, 3)
    let short = pow(lightness - 0.0894841775 * a - 1.2914855480 * b, 3)
    let channels = [
      4.0767416621 * long - 3.3077115913 * middle + 0.2309699292 * short,
      -1.2684380046 * long + 2.6097574011 * middle - 0.3413193965 * short,
      -0.0041960863 * long - 0.7034186147 * middle + 1.7076147010 * short,
    ]
    return "#"
      + channels.map { linear in
        let clamped = min(max(linear, 0), 1)
        let encoded = clamped <= 0.0031308 ? 12.92 * clamped : 1.055 * pow(clamped, 1 / 2.4) - 0.055
        return String(format: "%02x", Int((encoded * 255).rounded()))
      }.joined()
  }
}
