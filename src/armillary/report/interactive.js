// Each interactive figure takes the place of its still picture once it is drawn; if it can't be drawn, the still stays.
document.querySelectorAll(".lively").forEach(async (place) => {
  const still = place.nextElementSibling;
  place.hidden = false;
  try {
    const specification = JSON.parse(document.getElementById(place.dataset.specification).textContent);
    await vegaEmbed(place, specification, { actions: false, renderer: "svg", ast: true });
    still.hidden = true;
  } catch (error) {
    place.hidden = true;
    console.warn("An interactive figure could not be drawn; its still picture is shown.", error);
  }
});
