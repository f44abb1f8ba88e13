/** Which of a bundle's registry images an engine runs. */

/**
 * The platform of `images` (see BundleIndex.registry) that an engine runs, or undefined. An image index
 * may name ARM's usual variant ("linux/arm64/v8") where the engine says only "linux/arm64".
 */
export function registryPlatform(images: Record<string, unknown>, platform: string): string | undefined {
  if (platform in images) return platform;
  return Object.keys(images).find((one) => one === `${platform}/v8`);
}
